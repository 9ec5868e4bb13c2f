"""A worker that does what the body says, and writes down what it got."""
import json
import os
import signal
import sys
import time


def note(text):
    with open("handled", "a") as file:
        file.write(text + "\n")


def answer(**words):
    print(json.dumps(words), flush=True)


note(f"start {os.getpid()}")
print("ready as output", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    order = json.loads(task["body"])
    note(f"{order['name']} {task['receive_count']} {os.getpid()}")
    do = order.get("do", "done") if task["receive_count"] == 1 else "done"
    me = task["id"]
    if do in ("done", "reject"):
        answer(id=me, outcome=do, reason="as told")
    elif do == "retry":
        answer(id=me, outcome="retry", reason="as told", delay="1s")
    elif do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "garbage":
        print('{"id": "%s", "outcome": "finished"}' % me, flush=True)
        time.sleep(60)
    elif do == "nonsense":
        print("no JSON at all", flush=True)
        print(os.environ.get("TOKEN", ""), flush=True)
        print(os.environ.get("TOKEN", ""), file=sys.stderr, flush=True)
        answer(id=me, outcome="done")
    elif do == "twice":
        answer(id=me, outcome="done")
        answer(id=me, outcome="reject")
    elif do == "other":
        answer(id="somebody-else", outcome="done")
        time.sleep(60)
    elif do == "never":
        time.sleep(60)
    elif do == "slow":
        time.sleep(float(order["seconds"]))
        answer(id=me, outcome="done")
note(f"end {os.getpid()}")
