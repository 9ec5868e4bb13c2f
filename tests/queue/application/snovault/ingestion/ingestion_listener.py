"""Stands in for the few names of the application that docker/ingest_worker.py uses, with their signatures."""
import json
import os


class paster:
    @staticmethod
    def get_app(config_uri, app_name):
        print("loading", config_uri, app_name)
        os.system("echo a program of the application prints too")
        return "app"


class VirtualApp:
    def __init__(self, app, environ):
        assert environ == {"HTTP_ACCEPT": "application/json", "REMOTE_USER": "IMPORT"}
        self.app = app


class IngestionListener:
    def __init__(self, vapp, _queue_manager=None, _update_status=None):
        assert _queue_manager, "it would create a queue in SQS"
        self.vapp, self.queue_manager = vapp, _queue_manager


class IngestionMessage:
    def __init__(self, raw):
        body = json.loads(raw["Body"])
        self.id, self.body = raw["MessageId"], body
        self.uuid = body["uuid"] or ""
        self.type = body.get("ingestion_type", "vcf").strip().lower()


def call_ingestion_message_handler(message, listener):
    from . import ingestion_message_handler_default as default

    message = IngestionMessage(message)
    print("handling", message.id)
    with open("handled", "a") as file:
        file.write(f"{message.uuid} {message.type} {os.getpid()}\n")
    if message.type == "nobody":
        raise RuntimeError(f"No ingestion message handler defined for it -> Message: {message.body}")
    if message.type == "crash":
        raise KeyError("x")
    if message.type == "declined":
        return False
    return default.ingestion_message_handler_default(message, listener)
