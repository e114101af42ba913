/* SPDX-License-Identifier: Apache-2.0
 *
 * See advice.h. One line a code, phrases as of a message: no capital, no full stop, no newline.
 */
#include "service/http/advice.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const advice[ERR_CODE_COUNT] = {
    [ErrDeviceNotFound] = "GET /devices lists the devices",
    [ErrDeviceInUse] = "disconnect its clients, or try again when the group or job has ended",
    [ErrOpenFileFailed] = "choose another file, or correct what the message names and try again",
    [ErrInvalidBlockFormat] = "name the format that qemu-img info reports, or convert the image",
    [ErrDeviceIsReadOnly] = "leave it out, or attach it without read_only",
    [ErrDeviceFailed] = "correct what `reason` of GET /devices/NAME names",
    [ErrUnflushedData] = "correct the storage and try again, or send {\"discard_unflushed\": true}",
    [ErrImageIsKept] = "detach the device without `files=delete`",
    [ErrImageInUse] = "detach that device, or choose another image",
    [ErrDeviceExists] = "choose another name, or detach the device first",
    [ErrDuplicateDevice] = "name each device once",
    [ErrEmptyGroup] = "name at least one device, or labels that a device has",
    [ErrGroupNotFound] =
        "GET /snapshot-groups lists the groups, of which failed ones have only an id",
    [ErrEventsGone] = "read the current state, then the events from the oldest one on",
    [ErrNotRelated] = "name groups and devices whose images have a common origin",
    [ErrGroupExists] = "choose another name, or GET that group by this one",
    [ErrGroupHeld] = "release its holds first",
    [ErrGroupDeleting] = "choose another group",
    [ErrJobNotFound] = "GET /jobs lists the jobs",
    [ErrJobFinished] = "GET /jobs/ID says how it ended",
    [ErrTooManyHolds] = "release those that are not needed",
    [ErrTokenNotFound] = "GET /tokens lists the tokens",
    [ErrTokenExists] = "choose another name, or delete that token first",
    [ErrTooManyTokens] = "delete those that are not used",
    [ErrMalformedRequest] = "send a request as RFC 9112 defines it, on a new connection",
    [ErrMalformedJSON] = "send one JSON object (RFC 8259) in UTF-8, within the limits",
    [ErrUnknownField] = "leave it out, or see /openapi.yaml for the fields of the call",
    [ErrDuplicateField] = "give each field once",
    [ErrMissingField] = "add it, as /openapi.yaml has it",
    [ErrWrongType] = "send the type that /openapi.yaml has for it",
    [ErrInvalidParameter] = "/openapi.yaml has the parameters of every call",
    [ErrInvalidHeader] = "correct this header field as /openapi.yaml describes it, or leave it out",
    [ErrIdempotencyKeyReused] = "use a new key for each request",
    [ErrIdempotencyInProgress] = "try again for its answer",
    [ErrInvalidValue] = "send a value that /openapi.yaml allows there",
    [ErrUnauthorized] = "send 'Authorization: Bearer TOKEN'; an administrator makes tokens",
    [ErrForbidden] = "call as root or as the daemon's user, or over TCP with a token",
    [ErrInsufficientScope] = "use a token of the scope that /openapi.yaml has for the call",
    [ErrRateLimited] = "wait as long as Retry-After says, then send a valid token",
    [ErrNotFound] = "/openapi.yaml has every path",
    [ErrMethodNotAllowed] = "use one of those in the header field Allow",
    [ErrNotAcceptable] = "accept a type that /openapi.yaml has for the reply",
    [ErrRequestTimeout] = "send the whole request at once, on a new connection",
    [ErrPreconditionFailed] = "get it again and decide anew",
    [ErrBodyTooLarge] = "send less in one request",
    [ErrURITooLong] = "shorten the path or the query",
    [ErrUnsupportedMediaType] =
        "send a type that the header fields Accept-Post or Accept-Patch name",
    [ErrDeadlineExceeded] =
        "try again; a group may have a larger deadline_ms if its storage is slow",
    [ErrNotReady] = "try again when GET /readyz is answered with 200",
    [ErrStoreFailed] = "correct what the message names, until GET /readyz is answered with 200",
    [ErrStoreBusy] = "try again, or end the program that locks the database",
    [ErrOutOfResources] = "try again, or raise the limit",
    [ErrHeadersTooLarge] = "send fewer or shorter header fields",
    [ErrVersionNotSupported] = "use HTTP/1.1",
    [ErrInternalError] = "look in the log for this request's id and report a defect",
};

void advice_format(const struct err *err, char text[ADVICE_TEXT_BYTES])
{
    bool has_advice = strstr(err->message, "; ") != NULL;
    assert(advice[err->code]);
    int length = snprintf(text, ADVICE_TEXT_BYTES, "%s%s%s", err->message, has_advice ? "" : "; ",
                          has_advice ? "" : advice[err->code]);
    (void)length;
    assert(length > 0 && length < ADVICE_TEXT_BYTES);
}
