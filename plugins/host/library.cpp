// The C ABI: the level that runs a call, and the call.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "arguments.h"

#if defined(__linux__)
#include <sched.h>
#endif
#include <thread>

namespace lossexport {
namespace {

constexpr int32_t MOST_THREADS = 1024;

struct Level {
  const char *name;
  const Kernels &kernels;
};

// The level of the processor, or a lower one that LOSSEXPORT_LEVEL names.
Level best_level() {
#if defined(__x86_64__)
  const char *wanted = std::getenv("LOSSEXPORT_LEVEL");
  const auto skipped = [wanted](const char *name) {
    return wanted && *wanted && std::strcmp(wanted, name);
  };
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool wide = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
  if (wide && !skipped("x86-64-v4")) return {"x86-64-v4", v4::KERNELS};
  if (v3 && !skipped("x86-64-v3")) return {"x86-64-v3", v3::KERNELS};
  return {"x86-64", base::KERNELS};
#elif defined(__aarch64__)
  return {"aarch64", base::KERNELS};
#else
  return {"generic", base::KERNELS};
#endif
}

const Level &level() {
  static const Level found = best_level();
  return found;
}

int usable_threads(int32_t wanted) {
  if (wanted > 0) return wanted < MOST_THREADS ? wanted : MOST_THREADS;
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  return all ? all : 1;
}

// The threads of a caller that lends them for one call.
class TeamPool : public Pool {
 public:
  TeamPool(lossexport_team team) : team_(team) {}
  void run(int64_t tasks, void (*task)(void *, std::size_t), void *context) override {
    struct Job {
      std::atomic<int64_t> next;
      int64_t tasks;
      void (*task)(void *, std::size_t);
      void *context;
    } job = {{0}, tasks, task, context};
    const auto work = [](void *given) {
      Job &job = *static_cast<Job *>(given);
      for (int64_t i; (i = job.next.fetch_add(1)) < job.tasks;)
        job.task(job.context, static_cast<std::size_t>(i));
    };
    team_(work, &job, static_cast<unsigned>(tasks), 0);
  }

 private:
  lossexport_team team_;
};

}  // namespace

const Kernels &kernels() { return level().kernels; }

int32_t compute(const Kernel &kernel, const Arguments &given, const lossexport_tensor *inputs,
                const lossexport_tensor *outputs, int32_t threads) {
  try {
    kernel.op->loop(Call{given.values(), inputs, outputs, kernel.outputs, usable_threads(threads)});
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "%s: not enough memory", kernel.name);
  }
  return LOSSEXPORT_OK;
}

}  // namespace lossexport

extern "C" {

int32_t lossexport_abi(void) { return LOSSEXPORT_ABI; }

const char *lossexport_level(void) { return lossexport::level().name; }

const char *lossexport_op(int32_t index) {
  const lossexport::Kernels &all = lossexport::kernels();
  return index >= 0 && index < all.count ? all.first[index].name : nullptr;
}

const char *lossexport_message(void) { return lossexport::message(); }

int32_t lossexport_run(const char *name, const lossexport_attribute *attributes,
                       int32_t attribute_count, const lossexport_tensor *inputs,
                       int32_t input_count, const lossexport_tensor *outputs, int32_t output_count,
                       int32_t threads) {
  return lossexport_run_on(nullptr, name, attributes, attribute_count, inputs, input_count, outputs,
                           output_count, threads);
}

int32_t lossexport_run_on(lossexport_team team, const char *name,
                          const lossexport_attribute *attributes, int32_t attribute_count,
                          const lossexport_tensor *inputs, int32_t input_count,
                          const lossexport_tensor *outputs, int32_t output_count, int32_t threads) {
  using namespace lossexport;
  forget();
  if (!name) return fail(LOSSEXPORT_BAD_ARGUMENT, "op is null");
  const Kernel *kernel = kernels().begin(), *end = kernels().end();
  while (kernel != end && std::strcmp(kernel->name, name)) ++kernel;
  if (kernel == end) return fail(LOSSEXPORT_UNKNOWN_OP, "%.64s: no such op", name);
  Arguments given(*kernel);
  if (const int32_t code = given.take_inputs(inputs, input_count)) return code;
  if (const int32_t code = given.take_attributes(attributes, attribute_count)) return code;
  if (const int32_t code = given.check_outputs(outputs, output_count)) return code;
  if (!team) return compute(*kernel, given, inputs, outputs, threads);
  TeamPool pool(team);
  return compute(*kernel, given, inputs, outputs, threads);
}

}  // extern "C"
