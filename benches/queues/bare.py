"""What the server gives: receives ten and deletes them in one call, on one connection: bare.py URL HOST:PORT

Nothing is signed, checked or handled, and answers are not even parsed.
"""
import json
import re
import socket
import sys

HANDLE = re.compile(rb'"ReceiptHandle":\s*"([^"]+)"')
LENGTH = re.compile(rb"(?i)content-length: *(\d+)")


class Client:
    def __init__(self, address):
        self.address = address
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, action, body):
        """The answer's body to a body in JSON; anything but 200 is the end."""
        head = (f"POST / HTTP/1.1\r\nHost: {self.address}\r\nContent-Type: application/x-amz-json-1.0\r\n"
                f"X-Amz-Target: AmazonSQS.{action}\r\nContent-Length: {len(body)}\r\n\r\n")
        self.socket.sendall(head.encode() + body)
        answer = b""
        while True:
            piece = self.socket.recv(1 << 17)
            answer += piece
            head, found, rest = answer.partition(b"\r\n\r\n")
            if not piece:
                sys.exit(f"{action}: the connection ended")
            if found and len(rest) >= int(LENGTH.search(head)[1]):
                break
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            sys.exit(f"{action}: {answer.decode()}")
        return rest

    def ask(self, action, **body):
        return json.loads(self.call(action, json.dumps(body).encode()) or b"{}")


def main():
    url, address = sys.argv[1:]
    client = Client(address)
    receive = json.dumps({
        "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": 120,
        "MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}).encode()
    while True:
        handles = HANDLE.findall(client.call("ReceiveMessage", receive))
        if handles:
            entries = [{"Id": str(at), "ReceiptHandle": handle.decode()} for at, handle in enumerate(handles)]
            client.call("DeleteMessageBatch", json.dumps({"QueueUrl": url, "Entries": entries}).encode())


if __name__ == "__main__":
    main()
