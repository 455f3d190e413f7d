/* A disk that is slow, for one process: each write at a place of a file, as the
 * journal's head is written after each line and before the order leaves, takes as
 * many milliseconds as the file SLOW_DISK says at that moment, and is counted in
 * it when it begins: two numbers of eight bytes in this machine's order. Loaded
 * with LD_PRELOAD; built by tests/support/slow_disk.rs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile struct {
    int64_t milliseconds;
    int64_t begun;
} *disk;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SLOW_DISK");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(0, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        abort();
    close(file);
    disk = map;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    if (disk) {
        int64_t milliseconds = disk->milliseconds;
        struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
        __atomic_add_fetch(&disk->begun, 1, __ATOMIC_SEQ_CST);
        nanosleep(&pause, 0);
    }
    return syscall(SYS_pwrite64, file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    return pwrite64(file, bytes, count, at);
}
