// In the place of ONNX Runtime's provider for TensorRT, and of TensorRT behind it: it tells a version.
extern "C" int getInferLibVersion() noexcept {
  return 100'300;
}
