/* SPDX-License-Identifier: Apache-2.0
 *
 * See completion.h. What is printed ends up in a shell, so only plain names are: those of the
 * daemon's devices, groups and tokens always are.
 */
#include "clients/cli/completion.h"

#include "clients/cli/list.h"
#include "clients/cli/parse.h"
#include "clients/cli/send.h"
#include "clients/cli/settings.h"
#include "clients/cli/uri.h"

#include <stdio.h>
#include <string.h>

#define PAGE_ITEMS_MAX "1000"
#define WALK_TIMEOUT   "0.8" /* for all pages together: who has pressed a key waits */

static const char bash_script[] =
    "# Completion of snapgroupctl for bash; made by `snapgroupctl completion bash`.\n"
    "_snapgroupctl() {\n"
    "    local words=(\"${COMP_WORDS[@]:1:COMP_CWORD}\") word=${COMP_WORDS[COMP_CWORD]} line list\n"
    "    if declare -F _get_comp_words_by_ref >/dev/null; then\n"
    "        local cur prev cword\n"
    "        _get_comp_words_by_ref -n =@: -w words -c cur -i cword\n"
    "        words=(\"${words[@]:1:cword}\") word=$cur\n"
    "    fi\n"
    "    COMPREPLY=()\n"
    "    list=$(\"${COMP_WORDS[0]}\" __complete -- \"${words[@]}\" 2>/dev/null)\n"
    "    while IFS= read -r line; do\n"
    "        if [ \"$line\" = :files ]; then\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"${word#@}\")\n"
    "        elif [ -n \"$line\" ]; then\n"
    "            COMPREPLY+=(\"$line\")\n"
    "        fi\n"
    "    done <<<\"$list\"\n"
    "    [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null\n"
    "    if declare -F __ltrim_colon_completions >/dev/null; then\n"
    "        __ltrim_colon_completions \"$word\"\n"
    "    fi\n"
    "}\n"
    "complete -F _snapgroupctl snapgroupctl\n";

static const char zsh_script[] =
    "#compdef snapgroupctl\n"
    "# Completion of snapgroupctl for zsh; made by `snapgroupctl completion zsh`.\n"
    "_snapgroupctl() {\n"
    "    local -a list\n"
    "    list=(${(f)\"$(${words[1]} __complete -- ${(@)words[2,CURRENT]} 2>/dev/null)\"})\n"
    "    if (( ${list[(Ie):files]} )); then\n"
    "        _files\n"
    "        list=(${list:#:files})\n"
    "    fi\n"
    "    (( $#list )) && compadd -- $list\n"
    "}\n"
    "if [ \"$funcstack[1]\" = _snapgroupctl ]; then\n"
    "    _snapgroupctl \"$@\"\n"
    "else\n"
    "    compdef _snapgroupctl snapgroupctl\n"
    "fi\n";

int run_completion(struct call *call)
{
    const char *shell = call_argument(call, 0);
    if (strcmp(shell, "bash") != 0 && strcmp(shell, "zsh") != 0)
        return fail(&call->failure, EXIT_USAGE, "'%s' is not bash or zsh", shell);
    fputs(strcmp(shell, "bash") == 0 ? bash_script : zsh_script, stdout);
    return 0;
}

/* What is being completed: a line of words, of which the last one is `word`. */
struct completing {
    struct call *call; /* of the line, so far as it goes */
    const char *word;
    const char *prefix; /* what stands before it in its own word: "--output=" */
};

static void offer(const struct completing *completing, const char *text, size_t length)
{
    bool is_plain = length > 0;
    for (size_t i = 0; i < length; i++)
        is_plain =
            is_plain && text[i] > ' ' && text[i] < 0x7f && !strchr("'\"\\`$;&|<>(){}*?!", text[i]);
    if (is_plain && strncmp(text, completing->word, strlen(completing->word)) == 0)
        printf("%s%.*s\n", completing->prefix, (int)length, text);
}

static void words_offer(const struct completing *completing, const char *words)
{
    for (const char *at = words; *at;) {
        size_t length = strcspn(at, "|");
        offer(completing, at, length);
        at += length + (at[length] == '|');
    }
}

/* Opens the client once, for as long as somebody waits for a completion. */
static int client_ready(struct call *call)
{
    if (call->client)
        return 0;
    for (size_t i = 0; i < call->use_count; i++)
        if (call->uses[i].option == OPTION_TIMEOUT)
            call->uses[i].value = WALK_TIMEOUT;
    if (!call_has(call, OPTION_TIMEOUT))
        call->uses[call->use_count++] = (struct option_use){OPTION_TIMEOUT, WALK_TIMEOUT};
    return settings_read(call) != 0 ? -1 : client_open(call);
}

/* A page of a list; NULL: the daemon is away, or the time is over. */
static cJSON *page_get(struct call *call, const char *path)
{
    CLEANUP_REPLY struct reply reply = {0};
    cJSON *page = NULL;
    if (client_ready(call) != 0 || monotonic_ms() >= client_deadline_ms(call->client))
        return NULL;
    return client_get(call, path, &reply, &page) == 0 ? page : NULL;
}

/* The path of a list's page; `cursor`: `next` of the page before, or NULL. The caller frees it. */
static char *page_path(const char *list, const cJSON *cursor)
{
    char *path = NULL;
    size_t bytes = 0;
    unsigned count = strchr(list, '?') ? 1 : 0;
    FILE *to = open_memstream(&path, &bytes);
    if (!to)
        return NULL;
    fputs(list, to);
    uri_parameter(to, &count, "limit", PAGE_ITEMS_MAX);
    if (cursor)
        uri_parameter(to, &count, "cursor", cursor->valuestring);
    fclose(to);
    return path;
}

typedef void (*item_offer)(const struct completing *completing, const cJSON *item,
                           const char *name);

/* Offers the items of all pages, so far as they come in time. */
static void list_offer(const struct completing *completing, const char *list, item_offer offer_item,
                       const char *name)
{
    CLEANUP_JSON cJSON *page = NULL;
    const cJSON *item, *cursor = NULL;
    do {
        CLEANUP_FREE char *path = page_path(list, cursor);
        cJSON_Delete(page);
        page = path ? page_get(completing->call, path) : NULL;
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(page, "items"))
            offer_item(completing, item, name);
        cursor = cJSON_GetObjectItemCaseSensitive(page, "next");
    } while (cJSON_IsString(cursor));
}

static void name_offer(const struct completing *completing, const cJSON *item, const char *name)
{
    const char *text = cJSON_GetStringValue(cell_value(item, name));
    if (text)
        offer(completing, text, strlen(text));
}

static void members_offer(const struct completing *completing, const cJSON *group, const char *name)
{
    const char *group_name = cJSON_GetStringValue(cell_value(group, "name"));
    const cJSON *member;
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(group, "members"))
    {
        const char *device = cJSON_GetStringValue(cell_value(member, name));
        CLEANUP_FREE char *text = NULL;
        if (device && group_name && asprintf(&text, "%s@%s", device, group_name) >= 0)
            offer(completing, text, strlen(text));
    }
}

static void holds_offer(const struct completing *completing)
{
    const char *group = call_argument(completing->call, 0);
    CLEANUP_FREE char *path = group ? uri_path("snapshot-groups", group, NULL) : NULL;
    CLEANUP_JSON cJSON *page = path ? page_get(completing->call, path) : NULL;
    const cJSON *hold;
    cJSON_ArrayForEach(hold,
                       cJSON_GetObjectItemCaseSensitive(page, "holds")) if (cJSON_IsString(hold))
        offer(completing, hold->valuestring, strlen(hold->valuestring));
}

static void source_offer(const struct completing *completing, enum source source, const char *words)
{
    if (source == FROM_WORDS)
        words_offer(completing, words);
    if (source == FROM_FILES)
        puts(":files");
    if (source == FROM_DEVICES || source == FROM_EXPORTS)
        list_offer(completing, "/devices", name_offer, "name");
    if (source == FROM_GROUPS)
        list_offer(completing, "/snapshot-groups?state=committed", name_offer, "name");
    if (source == FROM_MEMBERS || source == FROM_EXPORTS)
        list_offer(completing, "/snapshot-groups?state=committed", members_offer, "device");
    if (source == FROM_JOBS)
        list_offer(completing, "/jobs", name_offer, "id");
    if (source == FROM_TOKENS)
        list_offer(completing, "/tokens", name_offer, "name");
    if (source == FROM_HOLDS)
        holds_offer(completing);
}

static void options_offer(const struct completing *completing)
{
    const struct call *call = completing->call;
    for (int i = 0; i < OPTION_COUNT; i++) {
        char text[48];
        int length = snprintf(text, sizeof(text), "--%s", call->option_rows[i].name);
        if (command_takes(call->command, (enum option)i) &&
            (call->option_rows[i].is_repeated || !call_has(call, (enum option)i)))
            offer(completing, text, (size_t)length);
    }
}

/* The next word of the commands that begin with those that are there. */
static void commands_offer(const struct completing *completing)
{
    const struct call *call = completing->call;
    const char *first = call_argument(call, 0), *last = "";
    size_t last_length = 0;
    for (size_t i = 0; i < call->command_count; i++) {
        const char *words = call->commands[i].words;
        size_t length = strcspn(words, " ");
        if (call->commands[i].is_hidden)
            continue;
        if (first &&
            (strlen(first) != length || strncmp(words, first, length) != 0 || !words[length]))
            continue;
        if (first)
            words += length + 1;
        length = strcspn(words, " ");
        if (length != last_length || strncmp(words, last, length) != 0)
            offer(completing, words, length);
        last = words;
        last_length = length;
    }
}

static void argument_offer(const struct completing *completing)
{
    const struct call *call = completing->call;
    size_t at = call->argument_count;
    for (size_t i = 0; i < ARGUMENTS_MAX && call->command->arguments[i].name; i++) {
        const struct argument_row *row = &call->command->arguments[i];
        if (i == at || (i < at && row->is_repeated))
            source_offer(completing, row->source, row->name);
    }
}

/* Offers what may come behind the words that `completing->call` has taken; `before`: the last of
 * them. */
static void word_offer(struct completing *completing, const char *before)
{
    const struct call *call = completing->call;
    enum option option =
        before && *before == '-' ? option_find(call->option_rows, before) : OPTION_COUNT;
    bool is_value = option != OPTION_COUNT && call->option_rows[option].value &&
                    !strchr(before, '=') && (before[1] == '-' || !before[2]);
    const char *equals =
        strncmp(completing->word, "--", 2) == 0 ? strchr(completing->word, '=') : NULL;
    CLEANUP_FREE char *prefix = NULL;
    if (equals && !is_value) {
        option = option_find(call->option_rows, completing->word);
        is_value = option != OPTION_COUNT && call->option_rows[option].value;
        prefix = strndup(completing->word, (size_t)(equals + 1 - completing->word));
        completing->prefix = prefix ? prefix : "";
        completing->word = equals + 1;
        if (!is_value)
            return;
    }
    if (is_value)
        source_offer(completing, call->option_rows[option].source, call->option_rows[option].value);
    else if (*completing->word == '-')
        options_offer(completing);
    else if (!call->command)
        commands_offer(completing);
    else
        argument_offer(completing);
}

int run_complete(struct call *call)
{
    size_t count = call->argument_count;
    const char *word = count ? call->arguments[count - 1] : "";
    CLEANUP_FREE char **line = calloc(count + 2, sizeof(*line));
    CLEANUP_BY(call_release)
    struct call inner = {.option_rows = call->option_rows,
                         .commands = call->commands,
                         .command_count = call->command_count};
    if (!line)
        return fail_memory(&call->failure);
    for (size_t i = 0; i + 1 < count; i++)
        line[i + 1] = call->arguments[i];
    /* A line that is not whole yet is wrong in some way: what it has is taken nevertheless. */
    if (call_parse(&inner, count ? (int)count : 1, line) != 0 && !inner.uses)
        return fail_memory(&call->failure);
    struct completing completing = {.call = &inner, .word = word, .prefix = ""};
    word_offer(&completing, count > 1 ? call->arguments[count - 2] : NULL);
    client_close(&inner);
    return 0;
}
