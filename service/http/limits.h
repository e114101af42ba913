/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits of REST that callers meet: GET /limits lists each constant of this file.
 */
#ifndef SERVICE_HTTP_LIMITS_H
#define SERVICE_HTTP_LIMITS_H

/* ---- of a request ---- */

#define HTTP_TARGET_MAX_BYTES 8192
#define HTTP_HEAD_MAX_BYTES   16384
#define HTTP_FIELDS_MAX       100

/* Of a chunk's line, and of fields behind the last chunk. */
#define HTTP_CHUNK_LINE_MAX 1024
#define HTTP_TRAILERS_MAX   32

#define REQUEST_PARAMETERS_MAX 16
#define REQUEST_BODY_MAX_BYTES (1024 * 1024)
#define REQUEST_ID_CHARS_MAX   128
#define PREFER_WAIT_MAX_S      3600

#define JSON_DEPTH_MAX        16   /* of arrays and objects */
#define JSON_VALUES_MAX       8192 /* these among them: the largest group has some 4,200 */
#define JSON_NUMBER_CHARS_MAX 60
#define JSON_INTEGER_MAX      (1ULL << 53) /* up to it doubles are exact */

#define PATH_BYTES_MAX           4095 /* of `image` and `snapshot_file`: of a path in Linux */
#define LABELS_MAX               64
#define LABEL_BYTES_MAX          256
#define ALLOWED_CLIENTS_MAX      64
#define ALLOWED_CLIENT_BYTES_MAX 127

#define REQUEST_LIMIT_MAX 1000 /* items of a page */
#define LIST_LABELS_MAX   8    /* of a filter */

/* ---- of time ---- */

/* Seconds for a whole head from its first byte (or from the beginning of the connection), for a
 * whole body, for a whole reply and once more for each HTTP_REPLY_SLICE_BYTES of it; and between
 * two requests. A handler has no limit. */
#define HTTP_HEAD_S  10
#define HTTP_BODY_S  30
#define HTTP_REPLY_S 30
#define HTTP_IDLE_S  30

/* ---- at a time ---- */

/* Connections of one kind (auth.h), and of one principal within it. Users who may not call get
 * their refusal on few connections. */
#define HTTP_UNIX_MAX           512
#define HTTP_UNIX_PEER_MAX      384
#define HTTP_UNIX_FORBIDDEN_MAX 16
#define HTTP_TCP_MAX            512
#define HTTP_TCP_PEER_MAX       256

/* Subscribers in all, and of one principal. */
#define SUBSCRIBERS_MAX      2048
#define SUBSCRIBERS_PEER_MAX 1024

/* Failures of one peer to prove that it may call: at once, and then one in each interval. */
#define THROTTLE_BURST       20
#define THROTTLE_INTERVAL_MS 3000

#endif
