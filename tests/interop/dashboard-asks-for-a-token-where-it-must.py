#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Over TCP the dashboard asks for a token. A wrong one is refused with the daemon's reason; a good
# one stays in the tab over a reload, in no address and in no storage that outlives the tab; when it
# expires or is revoked in mid-session, the dashboard asks again. Through the Unix socket it asks
# for none.
import os
import sys
import time
from datetime import datetime, timezone

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import Browser, Gate
from snapgroupd import Daemon, Failure, expect, main, wait_until


def log_in(browser, secret):
    browser.fill(secret, label="Token")
    browser.click(role="button", name="Log in")


def expect_nowhere(browser, secret):
    kept = browser.run("JSON.stringify([location.href, document.cookie, Object.values(localStorage), document.body.innerHTML])")
    expect(secret not in kept, "the secret is in %s", kept)
    expect(not any(secret in url for url in browser.ask("transfers")), "the secret is in a URL")


def soon(seconds):
    return datetime.fromtimestamp(time.time() + seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def log_in_briefly(browser, daemon):
    """With a token that expires soon, but not before the page shows what it is for."""
    for seconds in (4, 8, 16):
        browser.ask("reload")  # an alert is then of this token
        browser.wait(label="Token")
        log_in(browser, daemon.create_token("brief-%d" % seconds, "read", expires_at=soon(seconds)))
        wait_until(lambda: browser.count(role="alert") or browser.count(role="link", name="vda"), "an answer to the token")
        if browser.count(role="link", name="vda"):
            return
    raise Failure("the page shows nothing before the token expires")


def test():
    with Daemon() as daemon, Browser() as browser:
        daemon.listen_on_tcp()
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        browser.open(1280)
        browser.go("http://127.0.0.1:%d/ui/" % daemon.port)
        browser.wait(label="Token")
        expect(browser.count(role="alert") == 0, "nobody has done anything wrong yet")
        browser.expect_accessible("login")
        browser.shoot("login-1280-light")
        log_in(browser, "sgt_" + "A" * 43)
        browser.wait(role="alert")
        secret = daemon.create_token("reader", "read")
        log_in(browser, secret)
        browser.wait(role="link", name="vda")
        browser.wait(text="live")
        browser.ask("reload")
        browser.wait(role="link", name="vda")
        expect_nowhere(browser, secret)
        # Revoked: the stream ends, and with it the session.
        expect(daemon.request("DELETE", "/tokens/reader").status == 204, "revoke")
        browser.wait(label="Token")
        log_in_briefly(browser, daemon)
        browser.wait(label="Token")
        browser.wait(role="alert")
        log_in(browser, daemon.create_token("again", "read"))
        browser.wait(role="link", name="vda")
        browser.click(role="button", name="Log out")
        browser.wait(label="Token")
        expect(browser.run("sessionStorage.length") == 0, "the token is kept after the session")
        with Gate(os.path.join(daemon.runtime, "api.sock")) as gate:
            browser.go(gate.url + "/ui/")
            browser.wait(role="link", name="vda")
            expect(browser.count(role="button", name="Log out") == 0, "there is nothing to log out of")


main(test)
