/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2 on disk: structures, bits and limits. All numbers are big-endian. Source: qcow2
 * specification (QEMU, docs/interop/qcow2).
 *
 *     header -> refcount table -> refcount blocks        number of references to each host cluster
 *            -> L1 table -> L2 tables -> data clusters   host cluster of each guest cluster
 *            -> snapshot table -> L1 tables of internal snapshots
 */
#ifndef BLOCK_FORMAT_QCOW2_FORMAT_H
#define BLOCK_FORMAT_QCOW2_FORMAT_H

#include <assert.h>
#include <stdint.h>

#define QCOW2_MAGIC 0x514649fbU /* "QFI\xfb" */

struct qcow2_header_be {
    uint32_t magic;
    uint32_t version;
    uint64_t backing_file_offset;
    uint32_t backing_file_size;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_size;
    uint64_t l1_table_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t nb_snapshots;
    uint64_t snapshots_offset;
    /* Version 3. */
    uint64_t incompatible_features;
    uint64_t compatible_features;
    uint64_t autoclear_features;
    uint32_t refcount_order;
    uint32_t header_length;
    uint8_t compression_type;
    uint8_t padding[7];
};
static_assert(sizeof(struct qcow2_header_be) == 112, "qcow2 header");

enum {
    QCOW2_HEADER_V2_BYTES = 72,
    QCOW2_HEADER_V3_BYTES = 104, /* without compression_type */
    QCOW2_REFCOUNT_TABLE_FIELD = 48,
    QCOW2_INCOMPATIBLE_FIELD = 72,
    QCOW2_AUTOCLEAR_FIELD = 88,
};

struct qcow2_extension_be {
    uint32_t type;
    uint32_t length; /* the data follow, padded to 8 bytes */
};
static_assert(sizeof(struct qcow2_extension_be) == 8, "qcow2 header extension");

struct qcow2_snapshot_be {
    uint64_t l1_table_offset;
    uint32_t l1_size;
    uint16_t id_size;
    uint16_t name_size;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint32_t vm_state_size;
    uint32_t extra_data_size; /* extra data, id and name follow, padded to 8 bytes */
};
static_assert(sizeof(struct qcow2_snapshot_be) == 40, "qcow2 snapshot");

#define QCOW2_EXTENSION_END            0x00000000U
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXTENSION_FEATURE_NAMES  0x6803f857U
#define QCOW2_EXTENSION_GROUP_ID       0x534e4147U /* "SNAG": 16 bytes, the creating group's id */
#define QCOW2_EXTENSION_STAMP          0x534e4153U /* "SNAS": 16 bytes, as in the journal */

#define QCOW2_INCOMPATIBLE_DIRTY       (1ULL << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT     (1ULL << 1)
#define QCOW2_INCOMPATIBLE_DATA_FILE   (1ULL << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION (1ULL << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (1ULL << 4)
#define QCOW2_AUTOCLEAR_BITMAPS        (1ULL << 0)
#define QCOW2_AUTOCLEAR_RAW_DATA       (1ULL << 1)

/* L1 and L2 entries (l2.c draws them). */
#define QCOW2_COPIED      (1ULL << 63) /* the cluster has exactly one reference */
#define QCOW2_COMPRESSED  (1ULL << 62)
#define QCOW2_ZERO        1ULL /* reads as zeros; not with extended L2 */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ULL
#define QCOW2_L2_RESERVED 0x3f000000000001feULL
#define QCOW2_L1_RESERVED 0x7f000000000001ffULL
#define QCOW2_BITMAP_ALL  0xffffffffULL
#define QCOW2_SUBCLUSTERS 32

#endif
