/* Preloaded into a process, it notes what the process asks of the disk that holds one SQLite database.
 *
 * RECORDER_DATABASE   the database's path, as SQLite is given it (absolute, no links)
 * RECORDER_LOG        where the notes go; see recording.py for their form
 * RECORDER_SPEECH     a file descriptor: what is written to it stands in the same sequence
 * RECORDER_FAIL       "w|s|t FIRST COUNT ERRNO HOW": of the writes, syncs or truncations these fail, with nothing
 *                     done, or (HOW 1) after half of the first write, or (HOW 2) the process is killed there
 *
 * A note is made after the deed and before the caller hears of it, and no two deeds overlap but for syncs: so a sync
 * stands behind every write that came before it, and in front of whatever was said because of it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILES = 65536, MAX_NAME = 31 };
enum kind { WRITE = 'w', TRUNCATE = 't', SYNC = 's', CREATE = 'c', UNLINK = 'u', DIRECTORY_SYNC = 'd', SPEECH = 'a',
            FAILED_SYNC = 'f', FAILED = 'e', RENAME = 'r' };

struct __attribute__((packed)) note {
    uint8_t kind, name_length;
    uint32_t data_length;
    uint64_t offset;
};

/* Of an open file: 0, or the part of its name behind the database's, with a leading mark. */
static char files[MAX_FILES][MAX_NAME + 1];
static const char FILE_MARK = 'f', DIRECTORY_MARK = 'd';

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_file = -1, speech = -1;
static char database[4096], directory[4096];
static char fail_kind;
static long fail_first, fail_count, fail_how, seen_so_far;
static int fail_errno;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);

static void die(const char *what) {
    perror(what);
    abort();
}

__attribute__((constructor)) static void start(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_openat = dlsym(RTLD_NEXT, "openat");
    real_close = dlsym(RTLD_NEXT, "close");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");
    const char *path = getenv("RECORDER_DATABASE"), *log = getenv("RECORDER_LOG");
    if (path == NULL || log == NULL)
        return;
    snprintf(database, sizeof database, "%s", path);
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = 0;
    if ((log_file = real_open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600)) < 0)
        die(log);
    if (getenv("RECORDER_SPEECH") != NULL)
        speech = atoi(getenv("RECORDER_SPEECH"));
    const char *fail = getenv("RECORDER_FAIL");
    if (fail != NULL && sscanf(fail, "%c %ld %ld %d %ld", &fail_kind, &fail_first, &fail_count, &fail_errno,
                               &fail_how) != 5) {
        errno = EINVAL;
        die("RECORDER_FAIL");
    }
    unsetenv("LD_PRELOAD"); /* a child process of this one has another story */
}

/* The mark and the rest of the name of a file that concerns us, or NULL. */
static const char *rest_of(const char *path) {
    size_t length = strlen(database);
    if (log_file < 0 || path == NULL)
        return NULL;
    if (strncmp(path, database, length) == 0 && (path[length] == 0 || path[length] == '-') &&
        strlen(path + length) < MAX_NAME)
        return path + length;
    return NULL;
}

static int is_volatile(const char *name) { return strcmp(name, "-shm") == 0; }

static void put(const void *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = real_write(log_file, bytes, length);
        if (written < 0)
            die("RECORDER_LOG");
        bytes = (const char *)bytes + written;
        length -= written;
    }
}

static void note(enum kind kind, const char *name, uint64_t offset, const void *data, size_t length) {
    struct note head = {kind, strlen(name), length, offset};
    put(&head, sizeof head);
    put(name, head.name_length);
    put(data, length);
}

static const char *opened(int file) {
    return file >= 0 && file < MAX_FILES && files[file][0] == FILE_MARK ? files[file] + 1 : NULL;
}

/* Whether this deed is one of those that are to fail; wants the lock. */
static int fails(char kind, const char *name) {
    if (fail_kind != kind || ++seen_so_far < fail_first || seen_so_far >= fail_first + fail_count)
        return 0;
    if (!is_volatile(name))
        note(kind == 's' ? FAILED_SYNC : FAILED, name, seen_so_far, NULL, 0);
    if (fail_how == 2)
        kill(getpid(), SIGKILL);
    return 1;
}

static int remember(int file, const char *path, int was_there) {
    if (file < 0 || file >= MAX_FILES)
        return file;
    pthread_mutex_lock(&lock);
    const char *name = rest_of(path);
    files[file][0] = 0;
    if (name != NULL) {
        files[file][0] = FILE_MARK;
        strcpy(files[file] + 1, name);
        if (!was_there && !is_volatile(name))
            note(CREATE, name, 0, NULL, 0);
    } else if (log_file >= 0 && path != NULL && strcmp(path, directory) == 0)
        files[file][0] = DIRECTORY_MARK;
    pthread_mutex_unlock(&lock);
    return file;
}

static int is_there(const char *path) {
    struct stat status;
    int before = errno, found = path != NULL && stat(path, &status) == 0;
    errno = before;
    return found;
}

#define MODE_OF(flags)                                                                                                 \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) {
    MODE_OF(flags)
    int was_there = is_there(path);
    return remember(real_open(path, flags, mode), path, was_there);
}

int openat(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    int was_there = is_there(path);
    return remember(real_openat(folder, path, flags, mode), path, was_there);
}

int close(int file) {
    pthread_mutex_lock(&lock);
    if (file >= 0 && file < MAX_FILES)
        files[file][0] = 0;
    int result = real_close(file);
    pthread_mutex_unlock(&lock);
    return result;
}

static ssize_t written_at(int file, const char *name, const void *data, size_t length, off_t offset) {
    pthread_mutex_lock(&lock);
    ssize_t written = -1;
    int is_to_fail = fails('w', name);
    if (is_to_fail && fail_how == 1 && seen_so_far == fail_first && length > 1)
        length /= 2;
    else if (is_to_fail)
        goto failed;
    written = real_pwrite(file, data, length, offset);
    if (written > 0 && !is_volatile(name))
        note(WRITE, name, offset, data, written);
    pthread_mutex_unlock(&lock);
    return written;
failed:
    pthread_mutex_unlock(&lock);
    errno = fail_errno;
    return -1;
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset) {
    const char *name = opened(file);
    return name == NULL ? real_pwrite(file, data, length, offset) : written_at(file, name, data, length, offset);
}

ssize_t write(int file, const void *data, size_t length) {
    const char *name = opened(file);
    if (name != NULL) {
        off_t offset = lseek(file, 0, SEEK_CUR);
        ssize_t written = written_at(file, name, data, length, offset);
        if (written > 0)
            lseek(file, offset + written, SEEK_SET);
        return written;
    }
    if (log_file >= 0 && file == speech) {
        pthread_mutex_lock(&lock);
        note(SPEECH, "", 0, data, length);
        pthread_mutex_unlock(&lock);
    }
    return real_write(file, data, length);
}

int ftruncate(int file, off_t length) {
    const char *name = opened(file);
    if (name == NULL)
        return real_ftruncate(file, length);
    pthread_mutex_lock(&lock);
    int result = -1, error = fail_errno;
    if (!fails('t', name)) {
        result = real_ftruncate(file, length);
        error = errno;
        if (result == 0 && !is_volatile(name))
            note(TRUNCATE, name, length, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static int synced(int file, int (*real)(int)) {
    int is_directory = file >= 0 && file < MAX_FILES && files[file][0] == DIRECTORY_MARK;
    const char *name = is_directory ? "" : opened(file);
    if (name == NULL)
        return real(file);
    pthread_mutex_lock(&lock);
    int is_to_fail = !is_directory && fails('s', name);
    pthread_mutex_unlock(&lock);
    if (is_to_fail) {
        errno = fail_errno;
        return -1;
    }
    int result = real(file), error = errno;
    if (result == 0) {
        pthread_mutex_lock(&lock);
        note(is_directory ? DIRECTORY_SYNC : SYNC, name, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return result;
}

int fsync(int file) { return synced(file, real_fsync); }
int fdatasync(int file) { return synced(file, real_fdatasync); }

int unlink(const char *path) {
    const char *name = rest_of(path);
    if (name == NULL)
        return real_unlink(path);
    pthread_mutex_lock(&lock);
    int result = real_unlink(path), error = errno;
    if (result == 0 && !is_volatile(name))
        note(UNLINK, name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int rename(const char *from, const char *to) {
    const char *name = rest_of(from) != NULL ? rest_of(from) : rest_of(to);
    int result = real_rename(from, to), error = errno;
    if (name != NULL && result == 0) {
        pthread_mutex_lock(&lock);
        note(RENAME, name, 0, NULL, 0); /* SQLite renames nothing; the replayer refuses */
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return result;
}

#ifdef __GLIBC__ /* elsewhere these are names for the above */
int open64(const char *path, int flags, ...) {
    MODE_OF(flags)
    return open(path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    return openat(folder, path, flags, mode);
}
ssize_t pwrite64(int file, const void *data, size_t length, off64_t offset) {
    return pwrite(file, data, length, offset);
}
int ftruncate64(int file, off64_t length) { return ftruncate(file, length); }
#endif
