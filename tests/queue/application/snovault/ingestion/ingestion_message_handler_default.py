"""As in the application: the handler that takes every other type, and swallows its failures."""


def ingestion_message_handler_default(message, listener):
    try:
        process_submission(submission_id=message.uuid, ingestion_type=message.type, app=listener.vapp.app)
    except Exception as error:
        print("logged:", type(error).__name__)
    return True


def process_submission(*, submission_id, ingestion_type, app, bundles_bucket=None, s3_client=None):
    assert app == "app"
    if ingestion_type == "broken":
        raise ConnectionError("no S3")
