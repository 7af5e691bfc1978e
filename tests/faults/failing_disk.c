/* A disk that is full from one call on, and a clock that steps: for LD_PRELOAD.

   FAULT_ROOT  only calls on paths below it count
   FAULT_AT    from this call on, counted from 1, all fail with ENOSPC; 0 or unset: none does, they are counted
   FAULT_STEP  seconds that the wall clock jumps by after FAULT_TICKS readings of it
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls, ticks;

long fault_calls(void) { return atomic_load(&calls); }

static int full(void) {
    const char *at = getenv("FAULT_AT");
    long number = atomic_fetch_add(&calls, 1) + 1, from = at ? atol(at) : 0;
    if (from > 0 && number >= from) { errno = ENOSPC; return 1; }
    return 0;
}

static int below(const char *path) {
    const char *root = getenv("FAULT_ROOT");
    if (!root || !path) return 0;
    char whole[PATH_MAX + 1];
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        return strncmp(whole, root, strlen(root)) == 0;
    }
    return strncmp(path, root, strlen(root)) == 0;
}

static int below_fd(int fd) {
    if (!getenv("FAULT_ROOT")) return 0;
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    if (below_fd(fd) && full()) return -1;
    return REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t where) {
    if (below_fd(fd) && full()) return -1;
    return REAL(pwrite)(fd, data, size, where);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
    if (below_fd(fd) && full()) return -1;
    return REAL(pwrite64)(fd, data, size, where);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (below_fd(fd) && full()) return -1;
    return REAL(writev)(fd, parts, count);
}
int fsync(int fd) {
    if (below_fd(fd) && full()) return -1;
    return REAL(fsync)(fd);
}
int fdatasync(int fd) {
    if (below_fd(fd) && full()) return -1;
    return REAL(fdatasync)(fd);
}
int mkdir(const char *path, mode_t mode) {
    if (below(path) && full()) return -1;
    return REAL(mkdir)(path, mode);
}
int rename(const char *from, const char *to) {
    if (below(to) && full()) return -1;
    return REAL(rename)(from, to);
}
int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
    if ((flags & O_CREAT) && below(path) && access(path, F_OK) && full()) return -1;
    return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
    if ((flags & O_CREAT) && below(path) && access(path, F_OK) && full()) return -1;
    return REAL(open64)(path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = REAL(clock_gettime)(clock, now);
    const char *step = getenv("FAULT_STEP"), *after = getenv("FAULT_TICKS");
    if (status == 0 && clock == CLOCK_REALTIME && step && atomic_fetch_add(&ticks, 1) >= (after ? atol(after) : 0))
        now->tv_sec += atol(step);
    return status;
}
