"""EDI documents, ANSI X12 and UN/EDIFACT, as events. Pure: bytes in, structured CloudEvents and refusals out."""
