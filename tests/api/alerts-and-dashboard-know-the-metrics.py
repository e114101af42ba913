#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The alert rules are right for promtool, which also runs their tests; they and the dashboard use
only metrics, labels and operations that a live daemon has, and every metric is documented."""
import json
import os
import re
import sys

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import SOURCE_DIR, Daemon, expect, main
from promtool import promtool

RULES = os.path.join(SOURCE_DIR, "deploy", "prometheus", "snapgroupd.rules.yml")
DASHBOARD = os.path.join(SOURCE_DIR, "deploy", "grafana", "snapgroupd.json")
PROMETHEUS_LABELS = {"instance", "job"}


def live_metrics():
    """name -> its labels, of a daemon with a group and an NBD client's traces."""
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        daemon.snapshot("g", ["vda"])
        text = daemon.request("GET", "/metrics").body
    found = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.M):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found, set(re.findall(r"^# TYPE (\w+)", text, re.M))


def expect_known(expression, found):
    used = re.findall(r"\b(snapgroupd_\w+)(?:\{([^}]*)\})?", expression)
    for name, matchers in used:
        expect(name in found, "%s: there is no metric %s", expression, name)
        labels = set(re.findall(r"(\w+)=", matchers)) - PROMETHEUS_LABELS
        expect(labels <= found[name], "%s: %s has no label %s", expression, name, labels - found[name])
    return {name for name, _ in used}


def test():
    promtool("check", "rules", RULES)
    promtool("test", "rules", RULES.replace(".yml", ".test.yml"))
    found, families = live_metrics()
    with open(RULES) as file:
        rules = [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
    with open(RULES.replace(".yml", ".test.yml")) as file:
        tested = set(re.findall(r"alertname: (\w+)", file.read()))
    expect(tested == {rule["alert"] for rule in rules}, "alerts without a test, or the reverse: %s",
           tested ^ {rule["alert"] for rule in rules})
    with open(DASHBOARD) as file:
        dashboard = json.load(file)
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    targets += [variable["query"]["query"] for variable in dashboard["templating"]["list"]
                if variable["type"] == "query"]
    for expression in [rule["expr"] for rule in rules] + targets:
        expect_known(expression, found)
    for target in targets[:-2]:
        promtool("check", "rules", "/dev/stdin", input=json.dumps({"groups": [{"name": "dashboard", "rules": [
            {"record": "r", "expr": target.replace("$__rate_interval", "5m")}]}]}))
    with open(os.path.join(SOURCE_DIR, "docs", "operations.md")) as file:
        documented = set(re.findall(r"`snapgroupd(_\w+)`|`(_\w+)`", file.read()))
    documented = {"snapgroupd" + (first or second) for first, second in documented}
    expect(families == documented, "metrics and docs/operations.md differ: %s", families ^ documented)


main(test)
