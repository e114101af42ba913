#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# What needs a scope is refused to a page that a browser shows for another site, also over a Unix
# socket behind a proxy, where no token is needed, and also without a body, when a browser asks for
# no leave. The dashboard's own calls are served, its files to links from anywhere, and so is
# whatever is no browser. A site whose name leads to the proxy (DNS rebinding) is refused by its
# name, unless a token is sent. Where a browser does not say for which site a page is, as to a plain
# proxy at an address, the page's Origin must be the Host, unless a token is sent.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Connection, Daemon, expect, main


def refused(answer, what):
    expect(answer.status == 403 and answer.body["code"] == "Forbidden", "%s: %s", what, answer)


def served(answer, what):
    expect(answer.status == 200, "%s: %s", what, answer)


def sites(ask, way):
    for site in ("cross-site", "same-site", "Cross-Site", "?"):
        refused(ask("GET", "/devices", Sec_Fetch_Site=site), way + site)
        refused(ask("POST", "/snapshot-groups/monday/rollbacks", Sec_Fetch_Site=site), way + site)
        served(ask("GET", "/ui/", Sec_Fetch_Site=site), way + "a link to the page")
        served(ask("GET", "/livez", Sec_Fetch_Site=site), way + "a probe")
    for site in ("same-origin", "none"):
        served(ask("GET", "/devices", Sec_Fetch_Site=site), way + site)
    served(ask("GET", "/devices"), way + "no browser")


def origins():
    """As a proxy passes them on; after 20 failures there would be 429."""
    ours = (("http://192.0.2.7", "192.0.2.7"), ("http://192.0.2.7:8080", "192.0.2.7:8080"), ("HTTP://Storage", "storage"),
            ("https://192.0.2.7", "192.0.2.7:443"), ("http://192.0.2.7", "192.0.2.7:80"), ("http://[2001:db8::1]", "[2001:db8::1]"))
    foreign = (("http://evil.example", "192.0.2.7"), ("null", "192.0.2.7"), ("", "192.0.2.7"), ("http://192.0.2.7:81", "192.0.2.7"),
               ("http://192.0.2.7", "192.0.2.70"), ("http://192.0.2.7", "192.0.2.7:443"), ("https://192.0.2.7", "192.0.2.7:80"),
               ("http://192.0.2", "192.0.2.7"), ("ftp://192.0.2.7", "192.0.2.7"), ("http://", "192.0.2.7"))
    with Daemon() as daemon:
        daemon.start()
        secret = daemon.create_token("t", "admin")
        for origin, host in ours:
            served(daemon.request("GET", "/devices", Origin=origin, Host=host), "%s to %s" % (origin, host))
        for origin, host in foreign:
            what = "%s to %s" % (origin, host)
            refused(daemon.request("GET", "/devices", Origin=origin, Host=host), what)
            served(daemon.request("GET", "/devices", Origin=origin, Host=host, Authorization="Bearer " + secret), what)
            served(daemon.request("GET", "/devices", Origin=origin, Host=host, Sec_Fetch_Site="same-origin"), what)
            served(daemon.request("GET", "/ui/", Origin=origin, Host=host), what)
        # What a page could ask for without a body, and without leave.
        refused(daemon.request("POST", "/snapshot-groups/monday/rollbacks", Origin="http://evil.example", Host="192.0.2.7"), "POST")


def test():
    with Daemon() as daemon:
        daemon.listen_on_tcp()
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        daemon.snapshot("monday", ["vda"])
        secret = daemon.create_token("t", "admin")

        def ask_tcp(method, path, **headers):
            connection = Connection(daemon.port, secret)
            try:
                return connection.ask(method, path, **headers)
            finally:
                connection.close()

        sites(ask_tcp, "TCP: ")
        sites(daemon.request, "Unix: ")
        for host in ("localhost", "localhost:7420", "127.0.0.1:7420", "[::1]:7420", "storage", "192.0.2.7:80", "[2001:db8::1]"):
            served(daemon.request("GET", "/devices", Host=host), host)
        for host in ("evil.example", "evil.example:7420", "localhost.evil.example", "127.0.0.1.evil.example"):
            refused(daemon.request("GET", "/devices", Host=host), host)
            served(daemon.request("GET", "/ui/", Host=host), host)
            served(daemon.request("GET", "/devices", Host=host, Authorization="Bearer " + secret), host + " with a token")
        expect(len(daemon.list("/snapshot-groups")) == 1, "something was rolled back")
    origins()


main(test)
