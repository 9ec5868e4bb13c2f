#!/usr/bin/env python3
"""A Secrets Manager on loopback (moto), for tests that fetch a GAC over the real protocol.

Prints its URL on the first line. Then every line of standard input, a JSON object {"name": …, "file": PATH},
makes the secret of that name hold the file's text (`file` null: takes the secret away), and is answered by "ok".
Ends when standard input does.
"""
import json
import pathlib
import sys

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"
client = boto3.client("secretsmanager", region_name="us-east-1", endpoint_url=url,
                      aws_access_key_id="testing", aws_secret_access_key="testing")
print(url, flush=True)
for line in sys.stdin:
    ask = json.loads(line)
    try:
        client.delete_secret(SecretId=ask["name"], ForceDeleteWithoutRecovery=True)
    except client.exceptions.ResourceNotFoundException:
        pass
    if ask["file"] is not None:
        text = pathlib.Path(ask["file"]).read_bytes().decode("utf-8")
        client.create_secret(Name=ask["name"], SecretString=text)
    print("ok", flush=True)
server.stop()
