/* SPDX-License-Identifier: Apache-2.0
 *
 * A recogniser for the grammar of RFC 8259, one function for each rule. Beyond the grammar it
 * rejects "\u0000", lone surrogates, text that is not UTF-8, nesting deeper than JSON_DEPTH_MAX,
 * more than JSON_VALUES_MAX values, and numbers longer than cJSON's buffer: no client needs them,
 * and a C string cannot hold the first.
 *
 * A rule returns true with `at` behind the text that it matched, or false with `at` at the
 * offending byte and the reason in `wrong`.
 */
#include "service/http/json-syntax.h"

#include "service/utf8.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JSON_EXACT_MAX ((double)JSON_INTEGER_MAX)

struct scan {
    char *text;
    size_t at, bytes;
    size_t values; /* so far */
    const char *wrong;
};

static bool scan_value(struct scan *scan, unsigned depth);

static bool scan_fail(struct scan *scan, const char *wrong)
{
    scan->wrong = wrong;
    return false;
}

/* The next byte, or -1 at the end. */
static int scan_peek(const struct scan *scan)
{
    return scan->at < scan->bytes ? (unsigned char)scan->text[scan->at] : -1;
}

static bool scan_take(struct scan *scan, char wanted)
{
    if (scan_peek(scan) != wanted)
        return false;
    scan->at++;
    return true;
}

static void scan_space(struct scan *scan)
{
    while (scan_take(scan, ' ') || scan_take(scan, '\n') || scan_take(scan, '\t') ||
           scan_take(scan, '\r'))
        continue;
}

static bool scan_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (scan->bytes - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
        return scan_fail(scan, "a value is expected here");
    scan->at += length;
    return true;
}

static bool scan_digits(struct scan *scan)
{
    if (!isdigit(scan_peek(scan)))
        return scan_fail(scan, "a digit is expected here");
    while (isdigit(scan_peek(scan)))
        scan->at++;
    return true;
}

/* Whether the number, as it is written, is whole: "100", "1.50e1", but not "0.5". *last is its last
 * digit that is not 0. */
static bool number_is_whole(const char *number, char *last)
{
    size_t digits = strspn(number, "-0123456789");
    size_t fraction = number[digits] == '.' ? strspn(number + digits + 1, "0123456789") : 0;
    const char *exponent = strpbrk(number, "eE");
    /* Zeros at the end of the digits, before and after the point, do not count. */
    size_t end = digits + (fraction ? 1 + fraction : 0), zeros = 0;
    while (end > 0 && strchr("0.", number[end - 1])) {
        end--;
        zeros += number[end] == '0';
    }
    *last = end > 0 ? number[end - 1] : '-';
    if (*last == '-')
        return true; /* zero */
    return (exponent ? strtol(exponent + 1, NULL, 10) : 0) + (long)zeros >= (long)fraction;
}

/* Whether the text is rounded to a whole number when it becomes a double. */
static bool number_is_rounded(const char *text, size_t chars)
{
    char number[JSON_NUMBER_CHARS_MAX + 1];
    memcpy(number, text, chars);
    number[chars] = '\0';
    double value = strtod(number, NULL);
    if (value != floor(value) || fabs(value) > JSON_EXACT_MAX)
        return false;
    char last;
    if (!number_is_whole(number, &last))
        return true;
    /* Whole numbers up to 2^53 are exact; 2^53 + 1 = 9007199254740993 becomes 2^53. */
    return fabs(value) == JSON_EXACT_MAX && last != '2';
}

/* The shortest numbers that are rounded, such as 1e-400, have 6 characters. */
static void number_spoil(char *text, size_t chars)
{
    static const char infinite[] = "1e999";
    assert(chars >= sizeof(infinite));
    memset(mempcpy(text, infinite, sizeof(infinite) - 1), ' ', chars - (sizeof(infinite) - 1));
}

static bool scan_number(struct scan *scan)
{
    size_t start = scan->at;
    scan_take(scan, '-');
    if (!scan_take(scan, '0') && !scan_digits(scan))
        return false;
    if (scan_take(scan, '.') && !scan_digits(scan))
        return false;
    if (scan_take(scan, 'e') || scan_take(scan, 'E')) {
        if (!scan_take(scan, '+'))
            scan_take(scan, '-');
        if (!scan_digits(scan))
            return false;
    }
    if (scan->at - start > JSON_NUMBER_CHARS_MAX)
        return scan_fail(scan, "the number is too long");
    if (number_is_rounded(scan->text + start, scan->at - start))
        number_spoil(scan->text + start, scan->at - start);
    return true;
}

static bool scan_hex4(struct scan *scan, unsigned *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, scan->at++) {
        int digit = scan_peek(scan);
        if (digit < 0 || !isxdigit(digit))
            return scan_fail(scan, "four hexadecimal digits are expected after \\u");
        *value = *value * 16 + (unsigned)(isdigit(digit) ? digit - '0' : tolower(digit) - 'a' + 10);
    }
    return true;
}

/* The digits after "\u", and the low surrogate after a high one. */
static bool scan_code_unit(struct scan *scan)
{
    unsigned high, low = 0;
    if (!scan_hex4(scan, &high))
        return false;
    if (high == 0)
        return scan_fail(scan, "the character U+0000 is not allowed in a string");
    if (high < 0xd800 || high > 0xdfff)
        return true;
    bool paired = high < 0xdc00 && scan_take(scan, '\\') && scan_take(scan, 'u');
    if (paired && !scan_hex4(scan, &low))
        return false;
    return (low >= 0xdc00 && low <= 0xdfff) || scan_fail(scan, "a surrogate has no partner");
}

static bool scan_escape(struct scan *scan)
{
    if (scan_take(scan, 'u'))
        return scan_code_unit(scan);
    int letter = scan_peek(scan);
    if (letter <= 0 || !strchr("\"\\/bfnrt", letter))
        return scan_fail(scan, "there is no such escape");
    scan->at++;
    return true;
}

static bool scan_string(struct scan *scan)
{
    if (!scan_take(scan, '"'))
        return scan_fail(scan, "a string is expected here");
    while (!scan_take(scan, '"')) {
        int first = scan_peek(scan);
        if (first < 0)
            return scan_fail(scan, "the text ends within a string");
        if (first < 0x20)
            return scan_fail(scan, "a control character must be escaped in a string");
        if (scan_take(scan, '\\')) {
            if (!scan_escape(scan))
                return false;
            continue;
        }
        size_t count = utf8_character_bytes(scan->text + scan->at, scan->bytes - scan->at);
        if (count == 0)
            return scan_fail(scan, "this is not UTF-8");
        scan->at += count;
    }
    return true;
}

static bool scan_member(struct scan *scan, unsigned depth)
{
    scan_space(scan);
    if (!scan_string(scan))
        return false;
    scan_space(scan);
    if (!scan_take(scan, ':'))
        return scan_fail(scan, "':' is expected here");
    return scan_value(scan, depth);
}

/* The items of an object or array, up to and with `close`. */
static bool scan_items(struct scan *scan, char close, unsigned depth)
{
    if (depth > JSON_DEPTH_MAX)
        return scan_fail(scan, "arrays and objects are nested too deep");
    scan_space(scan);
    if (scan_take(scan, close))
        return true;
    for (;;) {
        if (!(close == '}' ? scan_member(scan, depth) : scan_value(scan, depth)))
            return false;
        if (scan_take(scan, close))
            return true;
        if (!scan_take(scan, ','))
            return scan_fail(scan, close == '}' ? "',' or '}' is expected here"
                                                : "',' or ']' is expected here");
    }
}

/* A value with the white space around it. */
static bool scan_value(struct scan *scan, unsigned depth)
{
    bool good;
    scan_space(scan);
    if (++scan->values > JSON_VALUES_MAX)
        return scan_fail(scan, "there are too many values");
    if (scan_take(scan, '{'))
        good = scan_items(scan, '}', depth + 1);
    else if (scan_take(scan, '['))
        good = scan_items(scan, ']', depth + 1);
    else if (scan_peek(scan) == '"')
        good = scan_string(scan);
    else if (scan_peek(scan) == '-' || isdigit(scan_peek(scan)))
        good = scan_number(scan);
    else if (scan_peek(scan) == 't')
        good = scan_word(scan, "true");
    else if (scan_peek(scan) == 'f')
        good = scan_word(scan, "false");
    else
        good = scan_word(scan, "null");
    if (good)
        scan_space(scan);
    return good;
}

int json_syntax_check(char *text, size_t bytes, struct err *err)
{
    struct scan scan = {.text = text, .bytes = bytes};
    if (scan_value(&scan, 0) && scan.at == bytes)
        return 0;
    if (!scan.wrong)
        scan.wrong = "nothing may follow the value";
    return err_set(err, ErrMalformedJSON, 0, "byte %zu: %s%s", scan.at, scan.wrong,
                   scan.at == bytes ? " (the text ends)" : "");
}
