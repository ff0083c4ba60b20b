"""An MCP server that behaves, by hand so that it starts at once: `python -I -S polite_server.py FOLDER`."""

import json
import os
import sys
import time

FOLDER = sys.argv[1]
NAMES = ("echo", "slow", "fail", "together", "never", "environment")


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tools():
    path = os.path.join(FOLDER, "tools.json")
    if os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    return [{"name": name, "description": f"{name}.", "inputSchema": {"type": "object"}} for name in NAMES]


def done(request, text, **more):
    send(id=request["id"], result={"content": [{"type": "text", "text": text}], **more})


together = []


def call(request):
    arguments = request["params"].get("arguments") or {}
    match request["params"]["name"]:
        case "echo":
            done(request, arguments["text"])
        case "slow":
            for step in range(1, arguments["steps"] + 1):
                progress = {
                    "progressToken": request["params"]["_meta"]["progressToken"],
                    "progress": step,
                    "message": f"step {step}",
                }
                send(method="notifications/progress", params=progress)
                time.sleep(0.02)
            done(request, f"{arguments['steps']} steps")
        case "fail":
            done(request, "The disk is full.", isError=True)
        case "together":  # answers once all have come, the last first
            together.append(request)
            while len(together) == arguments["of"]:
                for waiting in reversed(together):
                    done(waiting, str(waiting["params"]["arguments"]["number"]))
                together.clear()
        case "environment":
            done(request, json.dumps(dict(os.environ)))


def main():
    for line in sys.stdin:
        request = json.loads(line)
        match request.get("method"):
            case "initialize":
                result = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "polite", "version": "1"},
                }
                send(id=request["id"], result=result)
            case "tools/list":
                send(id=request["id"], result={"tools": tools()})
            case "tools/call":
                call(request)
            case "notifications/cancelled":
                with open(os.path.join(FOLDER, "cancelled"), "w") as file:
                    file.write(line)
            case _ if "id" in request:
                send(id=request["id"], error={"code": -32601, "message": "Method not found"})


main()
