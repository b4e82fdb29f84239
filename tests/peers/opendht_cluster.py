#!/usr/bin/python3
"""Many OpenDHT nodes in one process, driven by lines of JSON.

usage: opendht_cluster.py COUNT FIRST_PORT [BOOTSTRAP_PORT]

The first line written says that all nodes have joined, and after how many seconds. Each line read
is one request, answered by one line; tests/src/dht_peers/driver.rs has the list.
"""

import json
import socket
import sys
import threading
import time

import opendht as dht

# Seconds for one put, get or push.
LIMIT = 20
# Seconds for all nodes to know eight others.
START_LIMIT = 120
# How often a node is asked whether it knows others.
POLL = 0.01


def start(count, first_port, bootstrap):
    config = dht.DhtConfig()
    # No brake on neighbours that ask often: all share one address.
    config.setRateLimit(-1, -1)
    nodes = []
    for port in range(first_port, first_port + count):
        node = dht.DhtRunner()
        node.run(ipv4="127.0.0.1", ipv6="", port=port, config=config)
        if bootstrap != port:
            node.bootstrap("127.0.0.1", str(bootstrap))
        nodes.append(node)
    deadline = time.monotonic() + START_LIMIT
    for node in nodes:
        while node.getRoutingTablesLog(socket.AF_INET).count("[good]") < min(8, count - 1):
            if time.monotonic() > deadline:
                raise TimeoutError("a node did not join")
            time.sleep(POLL)
    return nodes


def milliseconds(since):
    return (time.monotonic() - since) * 1000


def put(node, key, value):
    done, ok = threading.Event(), []
    started = time.monotonic()

    def on_done(success, _nodes):
        ok.append((success, milliseconds(started)))
        done.set()

    node.put(key, dht.Value(value), done_cb=on_done)
    done.wait(LIMIT)
    return ok[0][1] if ok and ok[0][0] else None


def get(node, key):
    done, first = threading.Event(), []
    ended = []
    started = time.monotonic()

    def on_value(_value):
        if not first:
            first.append(milliseconds(started))
        return True

    def on_done(_success, _nodes):
        ended.append(milliseconds(started))
        done.set()

    node.get(key, get_cb=on_value, done_cb=on_done)
    done.wait(LIMIT)
    return (first or [None])[0], (ended or [LIMIT * 1000.0])[0]


def push(listener, writer, key, value):
    """From the call of put to the listener's call-back."""
    heard = threading.Event()
    at = []

    def on_value(_value, expired):
        if not expired:
            at.append(time.monotonic())
            heard.set()
        return True

    token = listener.listen(key, on_value)
    time.sleep(0.2)  # the listener reaches the nodes that will hold the value
    started = time.monotonic()
    writer.put(key, dht.Value(value))
    heard.wait(LIMIT)
    listener.cancelListen(token)
    return (at[0] - started) * 1000 if at else None


def measure(nodes, request):
    samples = {"put": [], "first": [], "get": [], "push": []}

    def keep(name, sample):
        if sample is not None:
            samples[name].append(sample)

    for number in range(request["rounds"]):
        # Two walks over the nodes that never meet in the same round.
        at = number * 7 % len(nodes)
        writer = nodes[at]
        reader = nodes[(at + 1 + number * 13 % (len(nodes) - 1)) % len(nodes)]
        key = dht.InfoHash.get(f"{request['label']}{number}")
        keep("put", put(writer, key, b"v" * 64))
        first, ended = get(reader, key)
        keep("first", first)
        keep("get", ended)
    for number in range(request["pushes"]):
        at = number * 5 % len(nodes)
        listener = nodes[(at + 1 + number * 3 % (len(nodes) - 1)) % len(nodes)]
        key = dht.InfoHash.get(f"{request['label']} push {number}")
        keep("push", push(listener, nodes[at], key, b"v" * 64))
    return samples


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    count, first_port = int(sys.argv[1]), int(sys.argv[2])
    bootstrap = int(sys.argv[3]) if len(sys.argv) > 3 else first_port
    started = time.monotonic()
    nodes = start(count, first_port, bootstrap)
    say({"ready": f"127.0.0.1:{first_port}", "seconds": time.monotonic() - started})
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        try:
            say(measure(nodes, request))
        except Exception as error:  # every failure is the tester's to judge
            say({"error": f"{type(error).__name__}: {error}"})


main()
