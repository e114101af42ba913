/* SPDX-License-Identifier: Apache-2.0
 *
 * The seeded generator: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
 * generators", 2014). Any seed is good, and a run is repeated by its seed on every machine.
 */
#include "tests/lib/testlib.h"

#include <string.h>

struct random random_seeded(uint64_t seed)
{
    return (struct random){.state = seed};
}

uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t random_below(struct random *random, uint64_t limit)
{
    return limit ? random_next(random) % limit : 0;
}

uint64_t random_between(struct random *random, uint64_t low, uint64_t high)
{
    return low + random_below(random, high - low + 1);
}

bool random_chance(struct random *random, unsigned percent)
{
    return random_below(random, 100) < percent;
}

void random_fill(struct random *random, void *buf, uint64_t length)
{
    unsigned char *p = buf;
    while (length) {
        uint64_t word = random_next(random);
        uint64_t n = length < sizeof(word) ? length : sizeof(word);
        memcpy(p, &word, n);
        p += n;
        length -= n;
    }
}
