// An exported file in a session of onnxruntime, with the library of kernels registered:
//
//   session LIBRARY FILE.onnx, where FILE.onnx is of `lossexport export nms`
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <iostream>

int main(int count, char **words) try {
  if (count != 3) {
    std::cerr << "usage: session LIBRARY FILE.onnx\n";
    return 2;
  }
  Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "lossexport");
  Ort::SessionOptions options;
  options.RegisterCustomOpsLibrary(words[1]);
  Ort::Session session(environment, words[2], options);

  std::array<float, 16> boxes = {0, 0, 10, 10, 1, 1, 11, 11, 20, 20, 30, 30, 20, 20, 30, 31};
  std::array<float, 4> scores = {0.9f, 0.8f, 0.3f, 0.6f};
  const std::array<int64_t, 2> boxes_shape = {4, 4};
  const std::array<int64_t, 1> scores_shape = {4};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::array<Ort::Value, 2> inputs = {
      Ort::Value::CreateTensor<float>(memory, boxes.data(), boxes.size(), boxes_shape.data(), 2),
      Ort::Value::CreateTensor<float>(memory, scores.data(), scores.size(), scores_shape.data(), 1),
  };
  const char *input_names[] = {"boxes", "scores"}, *output_names[] = {"indices", "count"};
  const auto outputs =
      session.Run(Ort::RunOptions{nullptr}, input_names, inputs.data(), 2, output_names, 2);

  const int64_t *indices = outputs[0].GetTensorData<int64_t>();
  const int64_t kept = *outputs[1].GetTensorData<int64_t>();
  std::cout << "kept " << kept << ":";
  for (int64_t i = 0; i < kept; ++i) std::cout << ' ' << indices[i];
  std::cout << '\n';
  return 0;
} catch (const Ort::Exception &error) {
  std::cerr << error.what() << '\n';
  return 1;
}
