/* A disk that forgets: journals what a process does to the files below
 * FORGET_ROOT, so that the test can build the folder as a disk would have it
 * after a power cut. Loaded with LD_PRELOAD; built by tests/store_crash.rs.
 *
 * One record per step, in the order in which they happened: kind, inode, offset,
 * length of the text, text (data or paths). Step and record happen under one
 * lock, so a sync record covers exactly the writes before it. A write is
 * journalled before it is done: a kill between the two leaves a write that the
 * disk may have, not one that it cannot. sync_file_range is left
 * alone and so counts for nothing: it is no barrier on the disk.
 *
 * While the file FORGET_FULL exists, the disk is full.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char ours[FDS];
static const char *root, *full;
static int journal = -1;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FORGET_JOURNAL");
    root = getenv("FORGET_ROOT");
    full = getenv("FORGET_FULL");
    if (!root || !path) { root = NULL; return; }
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) { perror("forget: journal"); abort(); }
}

static void note(char kind, uint64_t inode, uint64_t offset, const void *text, uint32_t length) {
    char head[21];
    head[0] = kind;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &length, 4);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)text, length}};
    ssize_t done = syscall(SYS_writev, journal, parts, 2);
    if (done != (ssize_t)(sizeof head + length)) abort(); /* a hole in the journal would be a false proof */
}

static uint64_t inode_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* The absolute path in `out`, if it is below the root. */
static int below(int dir, const char *path, char out[PATH_MAX]) {
    if (!root || !path) return 0;
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        char base[PATH_MAX], link[64];
        if (dir == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    size_t n = strlen(root);
    return strncmp(out, root, n) == 0 && (out[n] == '/' || out[n] == 0);
}

static int tracked(int fd) { return root && fd >= 0 && fd < FDS && ours[fd]; }
static int is_full(void) { return full && syscall(SYS_faccessat, AT_FDCWD, full, F_OK) == 0; }

static int do_open(int dir, const char *path, int flags, mode_t mode) {
    char at[PATH_MAX];
    if (!below(dir, path, at)) return (int)syscall(SYS_openat, dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat st;
    int was = lstat(at, &st) == 0;
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    int err = errno;
    if (fd >= 0 && fd < FDS) {
        ours[fd] = 1;
        if (!was && (flags & O_CREAT)) note('O', inode_of(fd), 0, at, (uint32_t)strlen(at));
        else if (flags & O_TRUNC) note('T', inode_of(fd), 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = err;
    return fd;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
int open(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return do_open(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return do_open(dir, path, flags, mode); }
int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS) ours[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

static ssize_t do_pwrite(int fd, const void *data, size_t length, off_t offset) {
    if (!tracked(fd)) return syscall(SYS_pwrite64, fd, data, length, offset);
    if (is_full()) { errno = ENOSPC; return -1; }
    pthread_mutex_lock(&lock);
    note('W', inode_of(fd), (uint64_t)offset, data, (uint32_t)length);
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, offset);
    if (done != (ssize_t)length) abort();
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return do_pwrite(fd, data, length, offset); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return do_pwrite(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
    if (root && fd == 1) {
        /* What the child says is a step too: it tells what was acknowledged by then. */
        pthread_mutex_lock(&lock);
        note('A', 0, 0, data, (uint32_t)length);
        pthread_mutex_unlock(&lock);
    }
    if (!tracked(fd)) return syscall(SYS_write, fd, data, length);
    if (is_full()) { errno = ENOSPC; return -1; }
    pthread_mutex_lock(&lock);
    off_t offset = lseek(fd, 0, (fcntl(fd, F_GETFL) & O_APPEND) ? SEEK_END : SEEK_CUR);
    note('W', inode_of(fd), (uint64_t)offset, data, (uint32_t)length);
    ssize_t done = syscall(SYS_write, fd, data, length);
    if (done != (ssize_t)length) abort();
    pthread_mutex_unlock(&lock);
    return done;
}

/* Ways to write that nobody here uses. Should that change, the journal must not miss them. */
#define NEVER(fd) do { if (tracked(fd)) { fputs("forget: a way to write that is not journalled\n", stderr); abort(); } } while (0)
ssize_t writev(int fd, const struct iovec *parts, int count) { NEVER(fd); return syscall(SYS_writev, fd, parts, count); }
int fallocate(int fd, int mode, off_t offset, off_t length) { NEVER(fd); return (int)syscall(SYS_fallocate, fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { NEVER(fd); return (int)syscall(SYS_fallocate, fd, mode, offset, length); }

static int do_truncate(int fd, off_t length) {
    if (!tracked(fd)) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    note('T', inode_of(fd), (uint64_t)length, NULL, 0);
    int done = (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t length) { return do_truncate(fd, length); }
int ftruncate64(int fd, off64_t length) { return do_truncate(fd, length); }

static int do_sync(int fd, long number) {
    if (!tracked(fd)) return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    /* Not the real one: the journal is the disk, and the machine's is not what is tested. */
    note('S', inode_of(fd), 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return 0;
}
int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

static int two_paths(char kind, int from_dir, const char *from, int to_dir, const char *to, long number, int flags) {
    char a[PATH_MAX], b[PATH_MAX], both[2 * PATH_MAX];
    int x = below(from_dir, from, a), y = below(to_dir, to, b);
    if (!x && !y) return (int)syscall(number, from_dir, from, to_dir, to, flags);
    if (!(x && y)) abort();
    pthread_mutex_lock(&lock);
    int done = (int)syscall(number, from_dir, from, to_dir, to, flags);
    int err = errno;
    if (done == 0) {
        size_t n = strlen(a) + 1, m = strlen(b);
        memcpy(both, a, n);
        memcpy(both + n, b, m);
        note(kind, 0, 0, both, (uint32_t)(n + m));
    }
    pthread_mutex_unlock(&lock);
    errno = err;
    return done;
}
int rename(const char *from, const char *to) { return two_paths('R', AT_FDCWD, from, AT_FDCWD, to, SYS_renameat2, 0); }
int renameat(int d, const char *from, int e, const char *to) { return two_paths('R', d, from, e, to, SYS_renameat2, 0); }
int renameat2(int d, const char *from, int e, const char *to, unsigned flags) { return two_paths('R', d, from, e, to, SYS_renameat2, (int)flags); }
int link(const char *from, const char *to) { return two_paths('L', AT_FDCWD, from, AT_FDCWD, to, SYS_linkat, 0); }
int linkat(int d, const char *from, int e, const char *to, int flags) { return two_paths('L', d, from, e, to, SYS_linkat, flags); }

static int do_unlink(int dir, const char *path, int flags) {
    char at[PATH_MAX];
    if (!below(dir, path, at)) return (int)syscall(SYS_unlinkat, dir, path, flags);
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_unlinkat, dir, path, flags);
    int err = errno;
    if (done == 0) note('U', 0, 0, at, (uint32_t)strlen(at));
    pthread_mutex_unlock(&lock);
    errno = err;
    return done;
}
int unlink(const char *path) { return do_unlink(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return do_unlink(dir, path, flags); }
int rmdir(const char *path) { return do_unlink(AT_FDCWD, path, AT_REMOVEDIR); }

static int do_mkdir(int dir, const char *path, mode_t mode) {
    char at[PATH_MAX];
    if (!below(dir, path, at)) return (int)syscall(SYS_mkdirat, dir, path, mode);
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_mkdirat, dir, path, mode);
    int err = errno;
    struct stat st;
    if (done == 0 && lstat(at, &st) == 0) note('D', st.st_ino, 0, at, (uint32_t)strlen(at));
    pthread_mutex_unlock(&lock);
    errno = err;
    return done;
}
int mkdir(const char *path, mode_t mode) { return do_mkdir(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return do_mkdir(dir, path, mode); }
