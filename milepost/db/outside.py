"""What others made of a schema that is replaced by another one: the rights that they have in it, and what they built on
its tables."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

_HOW: Final = "CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
_TO: Final = f"CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END || {_HOW}"
_WORD: Final = "CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END"
_SCHEMA: Final = "CAST('{schema}' AS regnamespace)"
_RELATIONS: Final = f"relnamespace = {_SCHEMA} AND relkind IN ('r', 'S')"
_RIGHTS: Final = (
    "SELECT format('ALTER SCHEMA {other} OWNER TO %I', pg_get_userbyid(nspowner)) FROM pg_namespace"
    f" WHERE oid = {_SCHEMA} AND pg_get_userbyid(nspowner) <> current_user",
    "SELECT format('ALTER TABLE {other}.%I OWNER TO %I', relname, pg_get_userbyid(relowner)) FROM pg_class"
    f" WHERE relnamespace = {_SCHEMA} AND relkind = 'r' AND pg_get_userbyid(relowner) <> current_user",
    f"SELECT format('GRANT %s ON SCHEMA {{other}} TO %s', privilege_type, {_TO})"
    f" FROM pg_namespace, aclexplode(nspacl) WHERE pg_namespace.oid = {_SCHEMA}",
    f"SELECT format('GRANT %s ON %s {{other}}.%I TO %s', privilege_type, {_WORD}, relname, {_TO})"
    f" FROM pg_class, aclexplode(relacl) WHERE {_RELATIONS}",
    f"SELECT format('GRANT %s (%I) ON {{other}}.%I TO %s', privilege_type, attname, relname, {_TO})"
    f" FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) WHERE {_RELATIONS}",
    "SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA {other} GRANT %s ON TABLES TO %s',"
    f" pg_get_userbyid(defaclrole), privilege_type, {_TO}) FROM pg_default_acl, aclexplode(defaclacl)"
    f" WHERE defaclnamespace = {_SCHEMA} AND defaclobjtype = 'r' AND pg_has_role(defaclrole, 'MEMBER')",
)
"""Statements that say in the other schema what is true in this one: who owns it, and who may do what in it."""
_DEPENDENTS: Final = sa.text(
    "WITH own AS (SELECT oid, relname, reltype FROM pg_class WHERE relnamespace = CAST(:schema AS regnamespace)"
    "  AND (relname = ANY(:own) OR relkind = 'S')),"
    " replaced AS (SELECT oid, reltype FROM own WHERE relname <> ALL(:kept))"
    " SELECT DISTINCT its.type || ' ' || its.identity FROM pg_depend AS d"
    # what a view depends on is said of its rule
    " LEFT JOIN pg_rewrite AS r ON d.classid = CAST('pg_rewrite' AS regclass) AND r.oid = d.objid"
    " CROSS JOIN LATERAL pg_identify_object("
    "  CASE WHEN r.oid IS NULL THEN d.classid ELSE CAST('pg_class' AS regclass) END, coalesce(r.ev_class, d.objid), 0)"
    " AS its WHERE (d.deptype = 'n' OR d.classid = CAST('pg_publication_rel' AS regclass)) AND ("
    " (d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid IN (SELECT oid FROM replaced))"
    " OR (d.refclassid = CAST('pg_type' AS regclass) AND d.refobjid IN (SELECT reltype FROM replaced))"
    " OR (d.refclassid = CAST('pg_namespace' AS regclass) AND d.refobjid = CAST(:schema AS regnamespace)"
    "  AND NOT (d.classid = CAST('pg_class' AS regclass) AND d.objid IN (SELECT oid FROM own)))) ORDER BY 1"
)


def give_the_same_rights(connection: sa.Connection, schema: str, other: str) -> None:
    """Let everybody do in `other` and its tables, which have the same names, what they may do in `schema`."""
    for query in _RIGHTS:
        for statement in connection.scalars(sa.text(query.format(schema=schema, other=other))).all():
            connection.exec_driver_sql(statement)


def dependents(connection: sa.Connection, schema: str, own: Collection[str], kept: Collection[str]) -> list[str]:
    """What others made that would go with a schema's `own` tables, but for those that are `kept`: views and functions
    over them, foreign keys to them; and whatever else is in the schema."""
    return list(connection.scalars(_DEPENDENTS, {"schema": schema, "own": list(own), "kept": list(kept)}))
