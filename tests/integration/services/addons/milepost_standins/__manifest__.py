# ruff: noqa: B018 - Odoo evaluates this file
{
    "name": "Milepost stand-ins",
    "summary": "The models of OCA's queue_job and edi_core_oca with the fields and states that Milepost reads",
    "version": "19.0.1.0.0",
    "author": "Milepost",
    "license": "LGPL-3",
    "depends": ["base"],
    "data": ["ir.model.access.csv"],
}
