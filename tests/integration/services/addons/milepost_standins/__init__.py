from . import models  # noqa: F401, TID252 - Odoo's way
