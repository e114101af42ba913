/* SPDX-License-Identifier: Apache-2.0
 *
 * Lives of disks at random, in one process each: attached, written, frozen in groups, rolled back,
 * cloned, deleted, copied, grown and detached, over trees of up to 12 images, with jobs that run
 * beside all that. What is left always reads as a model of flat content has it, what the model
 * forbids is refused with the codes that it names, and in the end no file is left that nobody
 * needs. In one life of eight the process is killed now and then: between two steps, at a call that
 * changes a file, or at any moment; the next one starts as a daemon does, and goes on.
 *
 * LIVES=100000 is the full run, about an hour, STEPS their length; FIRST=N LIVES=1 repeats life N,
 * but for what depends on time: where jobs are when another step is made, and some of the kills.
 */
#include "tests/lib/killable.h"
#include "tests/lib/life-draws.h"

#include "base/log.h"

#include <dirent.h>
#include <ftw.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum {
    KILL_LIVES = 8,
    KILL_PERCENT = 12,
    RESTART_PERCENT = 3,
    TRIES_MAX = 2000,
    DRAWS_MAX = 8,
    IDLE_MS = 60000
};

static const char template_dir[] = "template", life_dir[] = "life";

/* ---- more calls that a kill may meet ---- */

int unlinkat(int dirfd, const char *path, int flags)
{
    bool due = doom_due();
    int ret = (int)syscall(SYS_unlinkat, dirfd, path, flags);
    if (due)
        die();
    return ret;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    bool due = doom_due();
    int ret = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    if (due)
        die();
    return ret;
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    bool due = doom_due();
    int ret = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    if (due)
        die();
    return ret;
}

int ftruncate64(int fd, off64_t length)
{
    bool due = doom_due();
    int ret = (int)syscall(SYS_ftruncate, fd, length);
    if (due)
        die();
    return ret;
}

/* ---- death ---- */

static struct timespec doom_delay;

/* Nobody is killed twice, nor after the model has gone on. */
static void *doom_at_a_time(void *unused)
{
    (void)unused;
    nanosleep(&doom_delay, NULL);
    if (atomic_exchange(&doom.countdown, 0) != 0)
        die();
    return NULL;
}

static void doom_arm(struct random *random)
{
    static const uint64_t calls[] = {4, 12, 40, 120, 400}, delays_us[] = {50, 200, 800, 3000};
    doom.after = random_chance(random, 50);
    if (random_chance(random, 70)) {
        atomic_store(&doom.countdown, 1 + random_below(random, calls[random_below(random, 5)]));
        return;
    }
    pthread_t thread;
    doom_delay.tv_nsec = (long)random_below(random, 1000 * delays_us[random_below(random, 4)]);
    atomic_store(&doom.countdown, UINT64_MAX);
    if (pthread_create(&thread, NULL, doom_at_a_time, NULL) == 0)
        pthread_detach(thread);
}

/* Whoever counted to the end is about to kill. */
static void doom_disarm(void)
{
    if (atomic_exchange(&doom.countdown, 0) == 0)
        for (;;)
            pause();
}

/* ---- changes ---- */

static void change_note(struct life *life, const struct life_change *change, const char *outcome)
{
    bool is_of_group =
        change->kind == LIFE_ROLL_BACK || change->kind == LIFE_CLONE || change->kind >= LIFE_DELETE;
    const struct life_group *group = &life->groups[change->group];
    life_note(life, "%llu %s%s %s %s of %s, disk %s and %zu, %llu+%llu%s: %s",
              (unsigned long long)life->step, life_kind_name(change->kind),
              change->has_user ? " (used)" : "", change->name, change->file,
              is_of_group && group->count > 0 ? group->name : "-",
              life->disks[change->kind == LIFE_TAKE ? change->disks[0] : change->disk].name,
              change->count, (unsigned long long)change->offset, (unsigned long long)change->length,
              change->deletes_file ? ", with its file" : "", outcome);
}

/* The outcome is one that the model allows; true: it was done. */
static bool change_judge(struct life *life, const struct life_change *change, int ret,
                         const struct err *err)
{
    const uint64_t allowed = change->refusals | change->doubts;
    change_note(life, change, ret == 0 ? "done" : err_code_name(err->code));
    if (ret == 0 ? change->refusals != 0 : !(allowed >> err->code & 1))
        life_fail(life, "%s %s: %s, expected codes 0x%llx", life_kind_name(change->kind),
                  change->name, ret == 0 ? "done" : err->message, (unsigned long long)allowed);
    return ret == 0;
}

static bool change_is_due(const struct life_change *change, int ret, const struct err *err)
{
    const uint64_t allowed = change->refusals | change->doubts;
    return ret != 0 && err->code == ErrDeviceInUse && !(allowed >> err->code & 1);
}

/* What a job, or a device that is being closed, has in use for a moment is asked for again. */
static int change_ask(struct living *living, struct life_change *change, bool is_last,
                      struct err *err)
{
    int ret = life_ask(living, change, err);
    for (int tries = 0; change_is_due(change, ret, err) && !is_last; tries++) {
        if (tries == TRIES_MAX)
            return ret;
        life_await_jobs(living);
        usleep(tries * 10);
        ret = life_ask(living, change, err);
    }
    return ret;
}

/* The last one: the process is killed while it is made, or after it. */
static void change_make(struct living *living, struct life_change *change, bool is_last)
{
    struct err err = {.message = ""};
    struct life *life = living->life;
    life->pending = *change;
    life->has_pending = true;
    if (is_last)
        doom_arm(&life->random);
    int ret = change_ask(living, change, is_last, &err);
    if (is_last)
        doom_disarm();
    if (is_last && change_is_due(change, ret, &err))
        die();
    bool is_done = change_judge(life, change, ret, &err);
    if (is_done)
        life_apply(living, change);
    life->has_pending = false;
    life->counts[change->kind] += is_done;
    life->refused += !is_done;
}

/* A kill in the midst of jobs. */
static void jobs_last(struct living *living)
{
    doom_arm(&living->life->random);
    life_await_idle(living, 20);
    doom_disarm();
}

/* ---- a life ---- */

static void service_must_begin(struct living *living)
{
    struct err err = {.message = ""};
    living->service = (struct service){0};
    if (service_begin(&living->service, living->directory, &err) != 0)
        life_fail(living->life, "the start fails: %s", err.message);
}

static void service_must_end(struct living *living)
{
    struct err err = {.message = ""};
    if (service_end(&living->service, &err) != 0)
        life_fail(living->life, "the end fails: %s", err.message);
}

/* After a kill. */
static void pending_settle(struct living *living)
{
    struct life *life = living->life;
    struct life_change *change = &life->pending;
    if (!life->has_pending)
        return;
    bool was_done = life_was_done(living, change);
    change_note(life, change, was_done ? "killed, was done" : "killed, was not done");
    if (was_done && change->refusals)
        life_fail(life, "it was done though the model forbids it");
    if (was_done)
        life_apply(living, change);
    life->has_pending = false;
}

static void step(struct living *living, bool has_kills)
{
    struct life *life = living->life;
    struct life_change change;
    bool is_last = has_kills && random_chance(&life->random, KILL_PERCENT);
    if (random_chance(&life->random, RESTART_PERCENT)) {
        service_must_end(living);
        service_must_begin(living);
        life_note(life, "%llu restarted", (unsigned long long)life->step);
    }
    for (int tries = 0; tries < DRAWS_MAX; tries++)
        if (life_draw(living, &change)) {
            change_make(living, &change, is_last);
            break;
        }
    if (is_last && random_chance(&life->random, 50))
        jobs_last(living);
    if (is_last)
        die();
    if (random_chance(&life->random, 30))
        life_await_jobs(living);
    life_check_some(living);
}

static void begin(struct living *living)
{
    struct life *life = living->life;
    struct life_change change;
    for (uint64_t count = 1 + random_below(&life->random, 2); count > 0; count--) {
        life_draw_create(life, &change);
        change_make(living, &change, false);
    }
}

/* ---- its end ---- */

static void groups_delete(struct living *living)
{
    struct life *life = living->life;
    size_t first = random_below(&life->random, LIFE_GROUPS_MAX);
    life_await_jobs(living); /* of copies, too */
    for (size_t i = 0; i < LIFE_GROUPS_MAX; i++) {
        struct life_change change = {.kind = LIFE_RELEASE, .group = (first + i) % LIFE_GROUPS_MAX};
        const struct life_group *group = &life->groups[change.group];
        if (!group->is_used || group->is_deleting)
            continue;
        if (group->is_held)
            change_make(living, &change, false);
        change.kind = LIFE_DELETE;
        change_make(living, &change, false);
        if (random_chance(&life->random, 50))
            life_await_jobs(living);
    }
    life_await_jobs(living);
}

/* With its file, if that may go; what stays need not be attached again. */
static void disk_end(struct living *living, size_t disk)
{
    struct life *life = living->life;
    struct life_change change;
    do
        life_draw_detach(living, disk, true, &change);
    while (change.doubts); /* until it has waited for the jobs */
    if (change.refusals)
        life_draw_detach(living, disk, false, &change);
    change_make(living, &change, false);
    for (size_t i = 0; i < LIFE_LEFT_MAX && !change.deletes_file; i++)
        if (life->left[i].is_used && strcmp(life->left[i].file, change.file) == 0)
            life->left[i].is_used = false;
}

static void left_end(struct living *living, size_t left)
{
    struct life_change change;
    life_draw_attach(living, left, &change);
    change_make(living, &change, false);
    life_check(living);
    disk_end(living, life_find_disk(living->life, change.name));
}

/* Only what somebody named, and what no job has planned since, and no file of a half-made one. */
static void files_check(const struct living *living, const char *where, bool may_have_images)
{
    char path[PATH_MAX];
    const struct life *life = living->life;
    snprintf(path, sizeof(path), "%s/%s", living->directory, where);
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        const char *name = entry->d_name;
        bool is_known = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
                        (may_have_images &&
                         (life_has_file(&life->named, name) || life_has_file(&life->loose, name)));
        if (!is_known)
            life_fail(life, "%s/%s is left", where, name);
    }
    if (directory)
        closedir(directory);
}

static void end(struct living *living)
{
    struct life *life = living->life;
    life_await_jobs(living);
    life_check(living);
    groups_delete(living);
    life_check(living);
    for (size_t i = 0; i < LIFE_DISKS_MAX; i++)
        if (life->disks[i].is_used)
            disk_end(living, i);
    for (size_t i = 0; i < LIFE_LEFT_MAX; i++)
        if (life->left[i].is_used)
            left_end(living, i);
    if (!life_await_idle(living, IDLE_MS))
        life_fail(life, "a job does not end");
    life_check_jobs(living);
    service_must_end(living);
    files_check(living, "images", true);
    files_check(living, "run/journals", false);
    for (size_t i = 0; i < life->named.count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/images/%s", living->directory, life->named.files[i]);
        if (access(path, F_OK) != 0)
            life_fail(life, "%s is missing", life->named.files[i]);
    }
}

/* A process of the life: to its end, or until it is killed. Returns its status. */
static int live(struct life *life, const char *directory, uint64_t steps, bool has_kills)
{
    static struct living living;
    living = (struct living){.life = life, .directory = directory};
    log_set_level(LOG_LEVEL_WARNING);
    service_must_begin(&living);
    if (life->step == 0)
        begin(&living);
    pending_settle(&living);
    life_check(&living);
    while (life->step < steps) {
        life->step++;
        step(&living, has_kills);
    }
    end(&living);
    return 0;
}

/* ---- all of them ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void directory_remove(const char *path)
{
    if (access(path, F_OK) == 0)
        assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* So that no life has to make the schema. */
static int template_make(void *path)
{
    struct err err = {.message = ""};
    struct service service = {0};
    bool is_made = service_directory_make(path) && service_begin(&service, path, &err) == 0 &&
                   service_end(&service, &err) == 0;
    if (!is_made)
        fprintf(stderr, "%s\n", err.message);
    return is_made ? 0 : 1;
}

static void template_copy(const char *path)
{
    char from[PATH_MAX], to[PATH_MAX];
    static unsigned char bytes[1 << 16];
    assert_true(service_directory_make(path));
    snprintf(from, sizeof(from), "%s/state/snapgroupd.db", template_dir);
    snprintf(to, sizeof(to), "%s/state/snapgroupd.db", path);
    CLEANUP_CLOSE int source = open(from, O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n;
    while ((n = read(source, bytes, sizeof(bytes))) > 0)
        assert_int_equal(write(target, bytes, (size_t)n), n);
    assert_int_equal(n, 0);
}

struct course {
    struct life *life;
    char directory[PATH_MAX / 2];
    uint64_t steps;
    bool has_kills;
};

static int course_run(void *arg)
{
    const struct course *course = arg;
    return live(course->life, course->directory, course->steps, course->has_kills);
}

static void life_run(struct course *course, uint64_t number)
{
    directory_remove(course->directory);
    template_copy(course->directory);
    life_begin(course->life, number);
    course->has_kills = number % KILL_LIVES == 0;
    while (killed_child(course_run, course, 0, false))
        course->life->kills++;
}

static void report(const struct life *life, uint64_t lives)
{
    printf("%llu lives, %llu kills, %llu refused, %llu views compared;", (unsigned long long)lives,
           (unsigned long long)life->kills, (unsigned long long)life->refused,
           (unsigned long long)life->checked);
    for (enum life_kind kind = 0; kind < LIFE_KINDS; kind++)
        printf(" %s %llu", life_kind_name(kind), (unsigned long long)life->counts[kind]);
    printf("\n");
    fflush(stdout);
}

static const struct fixture fixture = {.begin = scratch_begin, .end = scratch_end};

TEST(lives_match_flat_files)
{
    struct course course = {.life = life_new(), .steps = environment_number("STEPS", 16)};
    const uint64_t first = environment_number("FIRST", 1);
    const uint64_t lives = environment_number("LIVES", TEST_SANITIZED ? 16 : 80);
    char path[PATH_MAX / 2];
    snprintf(course.directory, sizeof(course.directory), "%s/%s", scratch_dir(), life_dir);
    snprintf(path, sizeof(path), "%s/%s", scratch_dir(), template_dir);
    assert_false(killed_child(template_make, path, 0, false));
    for (uint64_t number = first; number < first + lives; number++) {
        life_run(&course, number);
        if ((number - first + 1) % 10000 == 0)
            report(course.life, number - first + 1);
    }
    report(course.life, lives);
}
