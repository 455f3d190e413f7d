/* A disk that fails or hangs, for one process: writes to and syncs of regular
 * files, but its log's, do what the file BAD_DISK says at that moment. Six numbers
 * of eight bytes in this machine's order: the errno that each write fails with, 0
 * for none; as long as it is not 0, writes wait; the same two for syncs; how many
 * writes and syncs wait; and how many milliseconds each sync takes. Loaded with LD_PRELOAD; built by tests/support/bad_disk.rs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile struct {
    int64_t write_errno;
    int64_t write_waits;
    int64_t sync_errno;
    int64_t sync_waits;
    int64_t waiting;
    int64_t sync_takes;
} *disk;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("BAD_DISK");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(0, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        abort();
    close(file);
    disk = map;
}

static int is_on_it(int file) {
    struct stat found;
    return disk && file > 2 && !fstat(file, &found) && S_ISREG(found.st_mode);
}

static int fails(volatile int64_t *waits, volatile int64_t *error) {
    struct timespec pause = {0, 2000000};
    if (*waits) {
        __atomic_add_fetch(&disk->waiting, 1, __ATOMIC_SEQ_CST);
        while (*waits)
            nanosleep(&pause, 0);
        __atomic_sub_fetch(&disk->waiting, 1, __ATOMIC_SEQ_CST);
    }
    errno = *error;
    return errno != 0;
}

ssize_t write(int file, const void *bytes, size_t count) {
    if (is_on_it(file) && fails(&disk->write_waits, &disk->write_errno))
        return -1;
    return syscall(SYS_write, file, bytes, count);
}

int fdatasync(int file) {
    int64_t takes = disk && is_on_it(file) ? disk->sync_takes : 0;
    struct timespec pause = {takes / 1000, takes % 1000 * 1000000};
    if (takes)
        nanosleep(&pause, 0);
    if (is_on_it(file) && fails(&disk->sync_waits, &disk->sync_errno))
        return -1;
    return syscall(SYS_fdatasync, file);
}
