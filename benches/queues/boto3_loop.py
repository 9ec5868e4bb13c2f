"""The original's ingester loop with a handler that does nothing: boto3_loop.py URL ENDPOINT

It receives one message at a time and deletes it by itself. Its sleep of 10 s before each receive is left out.
"""
import sys

import boto3


def main():
    url, endpoint = sys.argv[1:]
    sqs = boto3.client("sqs", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="testing",
                       aws_secret_access_key="testing")
    while True:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


if __name__ == "__main__":
    main()
