"""Names, types and states as OCA's queue_job and edi_oca document them; none of their behaviour."""

from odoo import fields, models

JOB_STATES = ["wait_dependencies", "pending", "enqueued", "started", "done", "cancelled", "failed"]
EXCHANGE_STATES = [
    *("new", "validate_error", "output_pending", "output_error_on_send", "output_sent", "output_sent_and_processed"),
    *("output_sent_and_error", "input_pending", "input_received", "input_receive_error", "input_processed"),
    "input_processed_error",
]


class QueueJob(models.Model):
    _name = "queue.job"
    _description = "Queue Job"
    _log_access = False  # as there: no write date

    uuid = fields.Char(required=True)
    name = fields.Char()
    channel = fields.Char()
    model_name = fields.Char()
    method_name = fields.Char()
    func_string = fields.Char()
    state = fields.Selection([(state, state.title()) for state in JOB_STATES], required=True, index=True)
    company_id = fields.Many2one("res.company")
    date_created = fields.Datetime()
    date_enqueued = fields.Datetime()
    date_started = fields.Datetime()
    date_done = fields.Datetime()
    date_cancelled = fields.Datetime()
    exc_name = fields.Char()
    exc_message = fields.Char()
    exc_info = fields.Text()
    retry = fields.Integer()
    max_retries = fields.Integer()


class ExchangeType(models.Model):
    _name = "edi.exchange.type"
    _description = "EDI Exchange Type"

    name = fields.Char(required=True)


class ExchangeRecord(models.Model):
    _name = "edi.exchange.record"
    _description = "EDI exchange Record"
    _rec_name = "identifier"

    identifier = fields.Char(required=True)
    type_id = fields.Many2one("edi.exchange.type")
    direction = fields.Selection([("input", "Input"), ("output", "Output")])
    model = fields.Char()
    res_id = fields.Many2oneReference(model_field="model")
    exchanged_on = fields.Datetime()
    edi_exchange_state = fields.Selection([(state, state.title()) for state in EXCHANGE_STATES], default="new")
    exchange_error = fields.Text()
    company_id = fields.Many2one("res.company")
