"""Stands in for a training process: fails, is killed, or waits until it is stopped.

FAKE=fail|traceback|kill|wait|end python -m tests.helpers.fake_train FLAG ...
"""

import os
import signal
import sys
import threading
import time


def main():
    what = os.environ["FAKE"]
    if what == "fail":
        print("epoch 1\nerror: the   loss is not finite\n\n", file=sys.stderr)
        sys.exit(2)
    if what == "traceback":
        raise RuntimeError("out of luck")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        threading.Thread(target=lambda: os.read(0, 1), daemon=True).start()
        print("waits", flush=True)
        time.sleep(60)


if __name__ == "__main__":
    main()
