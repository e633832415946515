// Functions of glibc by their oldest names, for a library that is built on a new glibc and runs on
// all since 2.17: `build.py --portable`. The linker takes these in place of the newest ones.
#if defined(LX_PORTABLE)
#include <math.h>
#include <pthread.h>

#if defined(__x86_64__)
#define LX_OLDEST "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define LX_OLDEST "GLIBC_2.17"
#else
#error "--portable: x86-64 and aarch64 alone"
#endif
#define LX_OLD(name) __asm__(".symver old_" #name ", " #name "@" LX_OLDEST)

extern "C" {

double old_log(double x);
int old_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                       void *argument);
int old_pthread_join(pthread_t thread, void **result);
LX_OLD(log);
LX_OLD(pthread_create);
LX_OLD(pthread_join);

double log(double x) noexcept { return old_log(x); }

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument) noexcept {
  return old_pthread_create(thread, attributes, start, argument);
}

int pthread_join(pthread_t thread, void **result) { return old_pthread_join(thread, result); }

// Since 2.32 it tells libstdc++ that it may do without atomics: never.
char __libc_single_threaded = 0;

}  // extern "C"
#endif
