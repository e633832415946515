// A TensorRT engine of `lossexport export box_ciou --format engine --backend tensorrt`:
//
//   engine FILE.engine
//
// Kernels of plugins are in the engine as PTX, so no library is registered. An engine is native
// code: load your own alone.
#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <array>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

class Logger : public nvinfer1::ILogger {
  void log(Severity severity, const char *message) noexcept override {
    if (severity <= Severity::kWARNING) std::cerr << message << '\n';
  }
};

void need(bool right, const std::string &what) {
  if (!right) throw std::runtime_error(what);
}

struct Free {
  void operator()(void *memory) const { cudaFree(memory); }
};
using Memory = std::unique_ptr<void, Free>;

Memory allocate(size_t bytes) {
  void *found = nullptr;
  need(cudaMalloc(&found, bytes) == cudaSuccess, "cudaMalloc failed");
  return Memory(found);
}

void run(const char *path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> data{std::istreambuf_iterator<char>(file), {}};
  need(!data.empty(), std::string(path) + ": cannot be read");

  Logger logger;
  const std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
  const std::unique_ptr<nvinfer1::ICudaEngine> engine(
      runtime->deserializeCudaEngine(data.data(), data.size()));
  need(engine != nullptr, std::string(path) + ": is of another TensorRT or GPU; build it here");
  const std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());

  const std::array<float, 8> pred = {0, 0, 10, 10, 20, 20, 30, 30};
  const std::array<float, 8> target = {1, 1, 11, 11, 20, 20, 30, 31};
  std::array<float, 2> score{};
  const Memory on_device[] = {allocate(sizeof pred), allocate(sizeof target),
                              allocate(sizeof score)};
  const char *names[] = {"pred", "target", "score"};
  for (int i = 0; i < 3; ++i)
    need(context->setTensorAddress(names[i], on_device[i].get()), names[i]);
  for (int i = 0; i < 2; ++i)
    need(context->setInputShape(names[i], nvinfer1::Dims2(2, 4)), names[i]);

  cudaStream_t stream = nullptr;
  need(cudaStreamCreate(&stream) == cudaSuccess, "cudaStreamCreate failed");
  cudaMemcpyAsync(on_device[0].get(), pred.data(), sizeof pred, cudaMemcpyHostToDevice, stream);
  cudaMemcpyAsync(on_device[1].get(), target.data(), sizeof target, cudaMemcpyHostToDevice, stream);
  const bool queued = context->enqueueV3(stream);
  cudaMemcpyAsync(score.data(), on_device[2].get(), sizeof score, cudaMemcpyDeviceToHost, stream);
  const cudaError_t code = cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  need(queued && code == cudaSuccess, cudaGetErrorString(code));
  std::cout << score[0] << ' ' << score[1] << '\n';
}

}  // namespace

int main(int count, char **words) try {
  need(count == 2, "usage: engine FILE.engine");
  run(words[1]);
  return 0;
} catch (const std::exception &error) {
  std::cerr << error.what() << '\n';
  return 1;
}
