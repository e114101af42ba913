#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The dashboard's files under /ui/ are those of clients/dashboard, each with its type and the policy
# that lets a page load and call nothing but the daemon; compressed for whoever takes gzip, under a
# tag of its own. All together, compressed, are at most 150 kB. There is no way to other files.
import gzip
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import SOURCE_DIR, Connection, Daemon, expect, main

ALL_BYTES_MAX = 150000
FOLDER = os.path.join(SOURCE_DIR, "clients/dashboard")
TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "mjs": "text/javascript; charset=utf-8",
         "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
POLICY = {"default-src 'self'", "img-src 'self' data:", "object-src 'none'", "base-uri 'none'", "form-action 'none'",
          "frame-ancestors 'none'"}


def files():
    """{path behind /ui/: file}"""
    found = {"": "index.html"}
    for folder, _, names in os.walk(FOLDER):
        place = os.path.relpath(folder, FOLDER)
        for name in names:
            path = os.path.normpath(os.path.join(place, name))
            if name.rsplit(".", 1)[-1] not in TYPES or name == "index.html":
                continue
            if path.startswith("vendor/preact/src/"):  # they import each other without ".js"
                found[path[len("vendor/preact/src/"):-len(".js")]] = path
            elif path.startswith("vendor/htm/src/"):
                found["htm.mjs" if name == "index.mjs" else name] = path
            elif path.startswith("vendor/"):
                found[name] = path
            else:
                found[path] = path
    return found


def fetch(connection, method, path, **headers):
    connection.request(method, "/ui/" + path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    response.asked = None  # its body is not text
    return response.status, response.headers, response.read()


def check_file(connection, path, file):
    """Its size, compressed."""
    with open(os.path.join(FOLDER, file), "rb") as source:
        content = source.read()
    status, plain, body = fetch(connection, "GET", path)
    expect(status == 200 and body == content, "/ui/%s is not %s: %d", path, file, status)
    expect(plain["Content-Type"] == TYPES[file.rsplit(".", 1)[-1]], "/ui/%s: %s", path, plain["Content-Type"])
    expect(set(plain["Content-Security-Policy"].split("; ")) == POLICY, "/ui/%s: %s", path, plain["Content-Security-Policy"])
    expect((plain["X-Content-Type-Options"], plain["Referrer-Policy"], plain["Cache-Control"], plain["Vary"]) ==
           ("nosniff", "no-referrer", "no-cache", "Accept-Encoding"), "/ui/%s: %s", path, plain)
    expect("Content-Encoding" not in plain, "/ui/%s is encoded, unasked", path)
    status, packed, body = fetch(connection, "GET", path, Accept_Encoding="br, gzip;q=0.5")
    expect(status == 200 and packed["Content-Encoding"] == "gzip" and gzip.decompress(body) == content, "/ui/%s by gzip", path)
    expect(packed["ETag"] != plain["ETag"], "/ui/%s: one tag for two codings", path)
    for tag, coding in ((packed["ETag"], "gzip"), (plain["ETag"], "identity")):
        status, again, nothing = fetch(connection, "GET", path, If_None_Match=tag, Accept_Encoding=coding)
        expect(status == 304 and not nothing and again["ETag"] == tag and again["Vary"] == "Accept-Encoding", "/ui/%s again", path)
    status, head, nothing = fetch(connection, "HEAD", path, Accept_Encoding="gzip")
    expect(status == 200 and not nothing and int(head["Content-Length"]) == len(body), "HEAD /ui/%s", path)
    return len(body)


def check_codings(connection):
    for coding, is_packed in (("gzip", True), ("x, GZIP", True), ("gzip;q=0", False), ("gzip; q=0.000, br", False),
                              ("br", False), ("", False), ("*", False)):
        status, headers, _ = fetch(connection, "GET", "", Accept_Encoding=coding)
        expect(status == 200 and ("Content-Encoding" in headers) == is_packed, "Accept-Encoding: %s: %s", coding, headers)
    for accept, status in (("text/html", 200), ("text/*;q=0.1", 200), ("application/json", 406)):
        expect(fetch(connection, "GET", "", Accept=accept)[0] == status, "the page with Accept: %s", accept)
    expect(fetch(connection, "GET", "app.js", Accept="text/css,*/*;q=0.1")[0] == 200, "a script, as a browser asks")


def check_imports(paths):
    """What a file imports is served, and the page asks for it at once, not one after the other."""
    with open(os.path.join(FOLDER, "index.html"), encoding="utf-8") as page:
        loaded = set(re.findall('(?:href|src)="([^"]+)"', page.read()))
    expect(loaded <= set(paths), "the page loads %s", loaded - set(paths))
    imported = set()
    for path, file in paths.items():
        with open(os.path.join(FOLDER, file), encoding="utf-8") as source:
            for name in re.findall(r'^(?:import|export|\}) [^;]*?["\'](\.[^"\']+)["\'];$', source.read(), re.M):
                imported.add(os.path.normpath(os.path.join(os.path.dirname(path), name)))
    expect(imported <= loaded, "the page does not preload %s", imported - loaded)
    expect(set(paths) <= loaded | {""}, "nobody loads %s", set(paths) - loaded)


def test():
    with Daemon() as daemon:
        daemon.listen_on_tcp()
        daemon.start()
        connection = daemon.connection()
        paths = files()
        expect(len(paths) > 25, "there are %d files", len(paths))
        check_imports(paths)
        size = sum(check_file(connection, path, file) for path, file in paths.items())
        print("%d files, %d bytes compressed" % (len(paths), size))
        expect(size <= ALL_BYTES_MAX, "all files have %d bytes", size)
        check_codings(connection)
        for path in ("none", "views", "views/", "index.html", "README.md", "..%2fapi.js", "views/..", "..", "../openapi.yaml",
                     "vendor/pico/LICENSE.md", "x" * 300, "views/" + "x" * 300, "%2e%2e/app.js", "a/b/c"):
            status = daemon.request("GET", "/ui/" + path).status
            expect(status == 404, "/ui/%s: %d", path, status)
        connection.close()
        # Nobody needs a token for it.
        stranger = Connection(daemon.port)
        expect(fetch(stranger, "GET", "")[0] == 200 and fetch(stranger, "GET", "app.js")[0] == 200, "over TCP, without a token")
        stranger.close()


main(test)
