/* Makes chosen calls on files below a directory fail, as a control file in memory says. Preloaded under margod.
 *
 * The control file is one struct, mapped by whoever steers and by the process under test. Each call that is asked for
 * counts down `skip`, then fails `times` times (for ever if negative) with `error`; with error 0 a write takes half.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE = 1, OPEN = 2, WRITE = 4, FSYNC = 8, RENAME = 16, MKDIR = 32, UNLINK = 64, READ = 128 };

static struct control {
  int calls, error, skip, times, seen, hit;
  char below[232];
} *control;

__attribute__((constructor)) static void begin(void) {
  const char *file = getenv("FAULTS_CONTROL");
  int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped != MAP_FAILED) control = mapped;
  close(fd);
}

/* Returns whether this call is to fail; errno is set then, or is 0 for half a write. */
static int fails(int call, const char *path) {
  if (!control || !(control->calls & call) || !control->below[0]) return 0;
  if (strncmp(path, control->below, strlen(control->below))) return 0;
  __sync_add_and_fetch(&control->seen, 1);
  if (__sync_fetch_and_sub(&control->skip, 1) > 0) return 0;
  if (control->times >= 0 && __sync_fetch_and_sub(&control->times, 1) <= 0) {
    control->times = 0;
    return 0;
  }
  __sync_add_and_fetch(&control->hit, 1);
  errno = control->error;
  return 1;
}

static int fails_at(int call, int fd) {
  char link[64], path[512];
  if (!control || !(control->calls & call)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return fails(call, path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPENING(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    if (fails(flags & O_CREAT ? CREATE : OPEN, path)) return -1; \
    return real(path, flags, mode); \
  }
OPENING(open)
OPENING(open64)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  if (fails_at(WRITE, fd)) {
    if (errno) return -1;
    size = size > 1 ? size / 2 : size;
  }
  return real(fd, data, size);
}

ssize_t read(int fd, void *data, size_t size) {
  REAL(read);
  return fails_at(READ, fd) ? -1 : real(fd, data, size);
}

int fsync(int fd) {
  REAL(fsync);
  return fails_at(FSYNC, fd) ? -1 : real(fd);
}

int rename(const char *old, const char *new) {
  REAL(rename);
  return fails(RENAME, new) ? -1 : real(old, new);
}

int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  return fails(MKDIR, path) ? -1 : real(path, mode);
}

int unlink(const char *path) {
  REAL(unlink);
  return fails(UNLINK, path) ? -1 : real(path);
}
