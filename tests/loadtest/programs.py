"""Servers of a few lines, as `python -c` runs them."""

ANSWERS = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
answers = sys.argv[2:]
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/readyz"
        self.send_response(int(answers.pop(0) if len(answers) > 1 else answers[0]) if known else 404)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""  # a port, and statuses of /readyz, of which the last stays
WITH_WORKERS = """
import subprocess, sys, time
for _ in range(2):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("here", flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
time.sleep(600)
"""
EXITS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("here", flush=True)
signal.pause()
"""
