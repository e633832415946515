// A GPU on the CPU: runs a kernel for every thread of a launch, exactly as declared.
//
// The threads of a block are fibers: each runs until it reaches a barrier or its end. Where all have
// reached the same barrier they go on; where some have not, the kernel would hang or worse on a GPU,
// and the launch fails. Blocks run one after another, each on shared memory full of garbage.
//
// Included before the kernel, for which it is nvcc; `EMULATE(kernel)` after it gives the entry point.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

struct Index {
  unsigned x, y, z;
};

static Index threadIdx, blockIdx, blockDim, gridDim;

#define LX_DEVICE 1
#define LX_KERNEL
#define LX_BOUNDS(threads)
#define LX_SHARED static __attribute__((section("emulated_shared")))
#define LX_SYNC() emulation::barrier(__LINE__)
#define __device__

// The linker's names of the first byte of that section and of the first behind it.
extern "C" char __start_emulated_shared[] __attribute__((weak)),
    __stop_emulated_shared[] __attribute__((weak));

namespace emulation {

constexpr std::size_t STACK = 32 * 1024;
constexpr int ENDED = -1;

struct Fiber {
  std::vector<char> stack = std::vector<char>(STACK);
  ucontext_t context;
  jmp_buf resume;
  bool started;
  int line;  // of the barrier that it waits at, ENDED behind the end
};

static std::vector<Fiber> fibers;
static Fiber *current;
static jmp_buf scheduler;
static void (*body)(void **);
static void **arguments;

// setjmp and longjmp change stacks without the system call of swapcontext.
static void barrier(int line) {
  current->line = line;
  if (_setjmp(current->resume) == 0) _longjmp(scheduler, 1);
}

static void run() {
  body(arguments);
  current->line = ENDED;
  _longjmp(scheduler, 1);
}

static void go_on(Fiber &fiber) {
  current = &fiber;
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = fiber.stack.size();
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run, 0);
  setcontext(&fiber.context);
}

static Index index_of(std::size_t place, const Index &extent) {
  return {static_cast<unsigned>(place % extent.x),
          static_cast<unsigned>(place / extent.x % extent.y),
          static_cast<unsigned>(place / extent.x / extent.y)};
}

static std::size_t count(const Index &extent) {
  return static_cast<std::size_t>(extent.x) * extent.y * extent.z;
}

// One block; false, with the reason, where its threads part.
static bool run_block(char *message, std::size_t room) {
  if (__start_emulated_shared)
    std::memset(__start_emulated_shared, 0xa5, __stop_emulated_shared - __start_emulated_shared);
  for (Fiber &fiber : fibers) fiber.started = false, fiber.line = 0;
  for (bool backwards = false;; backwards = !backwards) {
    // Now up, now down: what needs a barrier that is not there comes out wrong one way or the other.
    for (std::size_t turn = 0; turn < fibers.size(); ++turn) {
      const std::size_t thread = backwards ? fibers.size() - 1 - turn : turn;
      threadIdx = index_of(thread, blockDim);
      go_on(fibers[thread]);
    }
    const int line = fibers[0].line;
    for (std::size_t thread = 0; thread < fibers.size(); ++thread) {
      if (fibers[thread].line == line) continue;
      std::snprintf(message, room, "block %u,%u: thread 0 is at line %d, thread %zu is at line %d",
                    blockIdx.x, blockIdx.y, line, thread, fibers[thread].line);
      return false;
    }
    if (line == ENDED) return true;
  }
}

static int launch(const unsigned *grid, const unsigned *block, void **given, char *message,
                  std::size_t room) {
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  arguments = given;
  fibers.resize(count(blockDim));
  for (std::size_t place = 0; place < count(gridDim); ++place) {
    blockIdx = index_of(place, gridDim);
    if (!run_block(message, room)) return 1;
  }
  return 0;
}

// Calls a kernel with arguments that are given as cuLaunchKernel takes them: by their addresses.
template <typename... A, std::size_t... I>
void call(void (*kernel)(A...), void **given, std::index_sequence<I...>) {
  kernel(*static_cast<A *>(given[I])...);
}

template <typename... A>
constexpr std::size_t arity(void (*)(A...)) {
  return sizeof...(A);
}

}  // namespace emulation

#define EMULATE(kernel)                                                                         \
  extern "C" std::size_t emulated_arity() { return emulation::arity(kernel); }                  \
  extern "C" int emulated_launch(const unsigned *grid, const unsigned *block, void **given,     \
                                 char *message, std::size_t room) {                             \
    emulation::body = [](void **arguments) {                                                    \
      emulation::call(kernel, arguments, std::make_index_sequence<emulation::arity(kernel)>()); \
    };                                                                                          \
    return emulation::launch(grid, block, given, message, room);                                \
  }
