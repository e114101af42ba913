/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits of TLS that users meet: GET /limits lists each constant of this file.
 */
#ifndef BASE_TLS_LIMITS_H
#define BASE_TLS_LIMITS_H

#define TLS_FILE_BYTES_MAX (4 << 20) /* of a file with certificates or keys */
#define TLS_KEY_BYTES_MAX  64        /* of a pre-shared key: what psktool makes at most */
#define TLS_NAMES_MAX      16        /* that a client proves; more are left out */
#define TLS_NAME_BYTES_MAX 127       /* of each; longer ones are left out */

#endif
