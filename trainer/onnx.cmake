# finch_onnx: the ONNX writers and the reader. No LibTorch, so that it builds and is tested in seconds.
find_package(Protobuf REQUIRED)
find_package(ONNX REQUIRED)
find_package(nlohmann_json REQUIRED)

set(onnx_sources
  check_weights.cpp
  float_operators.cpp
  flush_denormals.cpp
  normalization_folding.cpp
  onnx_check.cpp
  onnx_graph.cpp
  onnx_import.cpp
  onnx_import_layers.cpp
  onnx_import_shapes.cpp
  onnx_reading.cpp
  onnx_weights.cpp
  onnx_writer.cpp
  quantization.cpp
  quantization_plan.cpp
  quantized_onnx_writer.cpp
  range_observer.cpp)
list(TRANSFORM onnx_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)

add_library(finch_onnx STATIC ${onnx_sources})
finch_target(finch_onnx)
target_link_libraries(finch_onnx PUBLIC finch_search PRIVATE ONNX::onnx nlohmann_json::nlohmann_json)
