"""The ingester's worker: hands each task to the application's own handlers, in one process that stays warm.

    ingest_worker.py production.ini [--app-name app] [--username IMPORT]

`runner` writes one JSON object a line to stdin and reads one JSON answer a line from stdout. Whatever else would be
printed there (by us, by the application, by its libraries) goes to stderr. The application is loaded before the first
line is read, so a task that finds no application was never taken.

What differs from `ingestion-listener`, which this stands in for:

- a task that no handler takes, or for whose type there is none, is rejected and kept; there it is deleted
- a failure that the default handler swallows is seen here, and the task is tried again; there it is deleted
- nothing here asks SQS for anything: receiving, keeping and deleting are runner's
"""
import argparse
import importlib
import json
import os
import sys
import traceback

LISTENER = "snovault.ingestion.ingestion_listener"
DEFAULT_HANDLER = "snovault.ingestion.ingestion_message_handler_default"


class NoQueue:
    """In the place of the listener's own queue, which it would create in SQS."""

    def receive_messages(self, *args, **kwargs):
        return []

    def delete_messages(self, messages):
        return []  # those that failed


class Swallowed:
    """Remembers what the default handler catches: it logs a failure and then says that all is well."""

    def __init__(self):
        self.error = None

    def watch(self):
        try:
            module = importlib.import_module(DEFAULT_HANDLER)
            process = module.process_submission
        except (ImportError, AttributeError):
            return  # an application without it

        def watched(*args, **kwargs):
            try:
                return process(*args, **kwargs)
            except Exception as error:
                self.error = error
                raise

        module.process_submission = watched


def load(args):
    """The application and the listener that its handlers are called with."""
    module = importlib.import_module(LISTENER)
    app = module.paster.get_app(args.config_uri, args.app_name)
    environ = {"HTTP_ACCEPT": "application/json", "REMOTE_USER": args.username}
    listener = module.IngestionListener(module.VirtualApp(app, environ), _queue_manager=NoQueue())
    return module.call_ingestion_message_handler, listener


def ingest(task, call, listener, swallowed):
    """What became of a task, and whether this process can go on. No text made here holds the task's body."""
    swallowed.error = None
    message = {"MessageId": task["id"], "ReceiptHandle": "", "Body": task["body"]}
    try:
        taken = call(message, listener)
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error).startswith("No ingestion message handler"):
            return {"outcome": "reject", "reason": "the application has no handler for this type"}, True
        traceback.print_exc()
        # Nobody knows what an unexpected error leaves behind: the next task gets a fresh process.
        return {"outcome": "retry", "reason": f"the handler failed: {type(error).__name__}"}, False
    if swallowed.error is not None:
        return {"outcome": "retry", "reason": f"the submission failed: {type(swallowed.error).__name__}"}, True
    if not taken:
        return {"outcome": "reject", "reason": "the application's handler did not take it"}, True
    return {"outcome": "done"}, True


def main():
    parser = argparse.ArgumentParser(description="Hands ingestion tasks to the application's handlers.")
    parser.add_argument("config_uri", help="production.ini")
    parser.add_argument("--app-name", help="the application's name in it")
    parser.add_argument("--username", default="IMPORT", help="whom the application works for")
    args = parser.parse_args()

    # Kept for the answers alone, also from programs that the application starts.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    swallowed = Swallowed()
    call, listener = load(args)
    swallowed.watch()
    print("the application is loaded", flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        answer, go_on = ingest(task, call, listener, swallowed)
        answers.write(json.dumps({"id": task["id"], **answer}) + "\n")
        answers.flush()
        if not go_on:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
