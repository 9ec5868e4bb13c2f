"""A worker for the kill test: by the task and by chance it works, crashes, hangs, or says what is not so.

Every handling is written down with its times; what is written before the answer is what was done.
"""
import json
import os
import random
import sys
import time

random.seed()
book = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(what, number):
    os.write(book, f"{what} {number} {os.getpid()} {time.monotonic():.6f}\n".encode())


def say(**words):
    print(json.dumps(words), flush=True)


for line in sys.stdin:
    task = json.loads(line)
    number = json.loads(task["body"])["n"]
    note("begin", number)
    chance = random.random()
    if number % 20 == 7:
        note("end", number)
        say(id=task["id"], outcome="reject", reason="as every twentieth")
        continue
    time.sleep(random.random() * 0.02)
    if chance < 0.02:
        os._exit(random.choice([0, 1, 65]))
    if chance < 0.03:
        time.sleep(8)
        os._exit(1)
    if chance < 0.04:
        say(id="somebody-else", outcome="done")
        time.sleep(8)
        os._exit(1)
    if chance < 0.05:
        say(id=task["id"], outcome="DONE")
        time.sleep(8)
        os._exit(1)
    if chance < 0.07:
        note("end", number)
        say(id=task["id"], outcome="retry", reason="by chance", delay="1s")
        continue
    if chance < 0.10:
        time.sleep(random.random())
    note("done", number)
    say(id=task["id"], outcome="done")
    if chance > 0.97:
        say(id=task["id"], outcome="reject")
