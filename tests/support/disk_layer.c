/* Stands between a process and the files below one folder (TARSIER_DISK_ROOT). Preloaded into the real daemon.
 *
 * With TARSIER_DISK_LOG it writes down, in order, what is done to them: what is written, and what is synced. A test makes
 * of it what a power cut could have left at any moment. Syncs are then only written down and not done: no disk is waited
 * for, and none is worn. A record is, little endian: kind (1 byte), then 8 bytes each of the wall clock in microseconds,
 * the inode, and a number; then two lengths of 4 bytes and as many bytes. Pages written through shared memory are not
 * seen: only SQLite's -shm has such, and it is made anew after a crash.
 *
 * With TARSIER_DISK_PACE it is a slow disk: that file says how many bytes a second may be written; 0: none, the disk
 * stalls; no file: as many as there are. Less than 0: it takes all and fails to sync it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, RENAME, UNLINK, MKDIR, SYNC, SYNC_FOLDER, SYNC_ALL };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -2;
static char root[PATH_MAX];

static int ready(void) {
  if (log_fd == -2) {
    const char *folder = getenv("TARSIER_DISK_ROOT"), *file = getenv("TARSIER_DISK_LOG");
    log_fd = -1;
    if (folder) snprintf(root, sizeof root, "%s", folder);
    if (folder && file) log_fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }
  return root[0] != 0;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void rest(double for_s) {
  struct timespec length = {(time_t)for_s, (long)((for_s - (double)(time_t)for_s) * 1e9)};
  if (for_s > 0) nanosleep(&length, NULL);
}

/* What the file of the pace says. */
static double rate(void) {
  const char *file = getenv("TARSIER_DISK_PACE");
  char text[32] = {0};
  int saved = errno;
  int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0) : -1;
  long got = fd < 0 ? 0 : syscall(SYS_read, fd, text, sizeof text - 1);
  if (fd >= 0) syscall(SYS_close, fd);
  errno = saved;
  return fd < 0 ? INFINITY : got > 0 ? atof(text) : 0;
}

/* Waits until the disk has taken so many bytes, after those that it was given before. */
static void pace(size_t length) {
  static pthread_mutex_t pace_lock = PTHREAD_MUTEX_INITIALIZER;
  static double taken_at;
  int saved = errno;
  double now_rate;
  while ((now_rate = rate()) == 0) rest(0.02);
  if (now_rate > 0 && now_rate < INFINITY) {
    pthread_mutex_lock(&pace_lock);
    double now = seconds();
    taken_at = (taken_at > now ? taken_at : now) + (double)length / now_rate;
    double wait = taken_at - now;
    pthread_mutex_unlock(&pace_lock);
    rest(wait);
  }
  errno = saved;
}

/* Does the disk take what is below the folder and keep nothing of it? */
static int fails_to_sync(void) {
  if (rate() >= 0) return 0;
  errno = EIO;
  return 1;
}

static int is_below(const char *path) {
  size_t length = strlen(root);
  return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* The whole path of a name; false where it lies elsewhere. */
static int below_at(int folder, const char *name, char *path) {
  if (!ready()) return 0;
  if (name[0] == '/') {
    snprintf(path, PATH_MAX, "%s", name);
  } else {
    char place[64], base[PATH_MAX];
    snprintf(place, sizeof place, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    ssize_t length = readlink(place, base, sizeof base - 1);
    if (length < 0) return 0;
    base[length] = 0;
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
  }
  return is_below(path);
}

/* A regular file below the folder, even if it is deleted by now. */
static int below_fd(int fd, struct stat *found) {
  char place[64], path[PATH_MAX];
  if (!ready() || fstat(fd, found) != 0 || !S_ISREG(found->st_mode)) return 0;
  snprintf(place, sizeof place, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(place, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_below(path);
}

static void put(uint8_t kind, uint64_t inode, uint64_t number, const void *first, uint32_t first_length,
                const void *second, uint32_t second_length) {
  struct timespec now;
  uint8_t head[33];
  int saved = errno;
  if (log_fd < 0) return;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t at = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
  head[0] = kind;
  memcpy(head + 1, &at, 8);
  memcpy(head + 9, &inode, 8);
  memcpy(head + 17, &number, 8);
  memcpy(head + 25, &first_length, 4);
  memcpy(head + 29, &second_length, 4);
  struct iovec parts[3] = {{head, sizeof head}, {(void *)first, first_length}, {(void *)second, second_length}};
  if (syscall(SYS_writev, log_fd, parts, 3) != (long)(sizeof head + first_length + second_length)) abort();
  errno = saved;
}

static void put_path(uint8_t kind, uint64_t inode, const char *path) {
  put(kind, inode, 0, path, (uint32_t)strlen(path), NULL, 0);
}

static int opened(int folder, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  struct stat before, after;
  int is_writing = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
  if (!is_writing || (flags & O_TMPFILE) == O_TMPFILE || !below_at(folder, name, path))
    return (int)syscall(SYS_openat, folder, name, flags, mode);
  pthread_mutex_lock(&lock);
  int is_new = lstat(path, &before) != 0;
  int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
  if (fd >= 0 && fstat(fd, &after) == 0 && S_ISREG(after.st_mode)) {
    if (is_new) put_path(CREATE, after.st_ino, path);
    else if (flags & O_TRUNC) put(TRUNCATE, after.st_ino, 0, NULL, 0, NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

#define MODE(flags)                                                            \
  mode_t mode = 0;                                                             \
  if ((flags) & (O_CREAT | O_TMPFILE)) {                                       \
    va_list rest;                                                              \
    va_start(rest, flags);                                                     \
    mode = va_arg(rest, mode_t);                                               \
    va_end(rest);                                                              \
  }

int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags) return opened(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags) return opened(folder, name, flags, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

/* offset < 0: where the file stands. */
static ssize_t written(int fd, const struct iovec *parts, int count, off_t offset) {
  struct stat found;
  long place = offset;
  size_t length_wanted = 0;
  for (int n = 0; n < count; n++) length_wanted += parts[n].iov_len;
  if (below_fd(fd, &found)) pace(length_wanted);
  pthread_mutex_lock(&lock);
  int is_ours = fd != log_fd && below_fd(fd, &found);
  if (is_ours && offset < 0) {
    int flags = fcntl(fd, F_GETFL);
    place = flags & O_APPEND ? found.st_size : lseek(fd, 0, SEEK_CUR);
  }
  ssize_t length = offset < 0 ? syscall(SYS_writev, fd, parts, count)
                              : syscall(SYS_pwritev, fd, parts, count, (long)offset, 0L);
  ssize_t left = length;
  for (int n = 0; is_ours && n < count && left > 0; n++) {
    ssize_t part = left < (ssize_t)parts[n].iov_len ? left : (ssize_t)parts[n].iov_len;
    put(WRITE, found.st_ino, (uint64_t)place, parts[n].iov_base, (uint32_t)part, NULL, 0);
    place += part;
    left -= part;
  }
  pthread_mutex_unlock(&lock);
  return length;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  struct stat found;
  /* Pipes and sockets wait for their readers: not under the lock. */
  if (!below_fd(fd, &found)) return syscall(SYS_write, fd, bytes, length);
  struct iovec part = {(void *)bytes, length};
  return written(fd, &part, 1, -1);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  struct stat found;
  if (!below_fd(fd, &found)) return syscall(SYS_writev, fd, parts, count);
  return written(fd, parts, count, -1);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  struct iovec part = {(void *)bytes, length};
  return written(fd, &part, 1, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return pwrite(fd, bytes, length, offset); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return written(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  return written(fd, parts, count, offset);
}

int ftruncate(int fd, off_t length) {
  struct stat found;
  pthread_mutex_lock(&lock);
  int is_ours = below_fd(fd, &found);
  int result = (int)syscall(SYS_ftruncate, fd, length);
  if (is_ours && result == 0) put(TRUNCATE, found.st_ino, (uint64_t)length, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

/* What would be missed is not allowed to be used; whoever asks does without. */
int fallocate(int fd, int mode, off_t offset, off_t length) {
  (void)fd, (void)mode, (void)offset, (void)length;
  errno = EOPNOTSUPP;
  return -1;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) {
  (void)fd, (void)offset, (void)length;
  return EOPNOTSUPP;
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
  (void)in, (void)from, (void)out, (void)to, (void)length, (void)flags;
  errno = EXDEV;
  return -1;
}
ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
  struct stat found;
  if (!below_fd(out, &found)) return syscall(SYS_sendfile, out, in, offset, count);
  errno = EINVAL;
  return -1;
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) { return sendfile(out, in, offset, count); }

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  char a[PATH_MAX], b[PATH_MAX];
  pthread_mutex_lock(&lock);
  int is_ours = below_at(from_folder, from, a) && below_at(to_folder, to, b);
  int result = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
  if (is_ours && result == 0) put(RENAME, 0, 0, a, (uint32_t)strlen(a), b, (uint32_t)strlen(b));
  pthread_mutex_unlock(&lock);
  return result;
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  return renameat2(from_folder, from, to_folder, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int folder, const char *name, int flags) {
  char path[PATH_MAX];
  pthread_mutex_lock(&lock);
  int is_ours = below_at(folder, name, path);
  int result = (int)syscall(SYS_unlinkat, folder, name, flags);
  if (is_ours && result == 0) put_path(UNLINK, 0, path);
  pthread_mutex_unlock(&lock);
  return result;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int folder, const char *name, mode_t mode) {
  char path[PATH_MAX];
  pthread_mutex_lock(&lock);
  int is_ours = below_at(folder, name, path);
  int result = (int)syscall(SYS_mkdirat, folder, name, mode);
  if (is_ours && result == 0) put_path(MKDIR, 0, path);
  pthread_mutex_unlock(&lock);
  return result;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

static int synced(int fd, long call) {
  struct stat found;
  if (below_fd(fd, &found)) {
    pace(0);
    if (fails_to_sync()) return -1;
  }
  if (log_fd < 0) return (int)syscall(call, fd);
  pthread_mutex_lock(&lock);
  int is_ours = below_fd(fd, &found);
  char path[PATH_MAX];
  int is_folder = !is_ours && ready() && fstat(fd, &found) == 0 && S_ISDIR(found.st_mode) && below_at(fd, ".", path);
  int result = 0;
  if (is_ours) put(SYNC, found.st_ino, 0, NULL, 0, NULL, 0);
  else if (is_folder) put_path(SYNC_FOLDER, 0, path);
  else result = (int)syscall(call, fd);
  pthread_mutex_unlock(&lock);
  return result;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int syncfs(int fd) {
  if (ready()) {
    pace(0);
    if (fails_to_sync()) return -1;
  }
  if (log_fd < 0) return (int)syscall(SYS_syncfs, fd);
  pthread_mutex_lock(&lock);
  put(SYNC_ALL, 0, 0, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return 0;
}
void sync(void) {
  if (ready() && log_fd >= 0) syncfs(-1);
  else syscall(SYS_sync);
}
