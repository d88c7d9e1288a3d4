# finch_tflite: the TensorFlow Lite writer. No LibTorch, so that it builds and is tested in seconds.
find_package(nlohmann_json REQUIRED)
find_path(FINCH_FLATBUFFERS_INCLUDE flatbuffers/flatbuffers.h REQUIRED)
find_program(FINCH_FLATC flatc REQUIRED)

set(tflite_generated ${PROJECT_BINARY_DIR}/generated/trainer)
file(MAKE_DIRECTORY ${tflite_generated})
add_custom_command(
  OUTPUT ${tflite_generated}/tflite_schema_generated.h
  COMMAND ${FINCH_FLATC} --cpp --gen-object-api --scoped-enums -o ${tflite_generated} ${CMAKE_CURRENT_LIST_DIR}/tflite_schema.fbs
  DEPENDS ${CMAKE_CURRENT_LIST_DIR}/tflite_schema.fbs
  VERBATIM)

set(tflite_sources tflite_graph.cpp tflite_writer.cpp)
list(TRANSFORM tflite_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
add_library(finch_tflite STATIC ${tflite_sources} ${tflite_generated}/tflite_schema_generated.h)
finch_target(finch_tflite)
target_include_directories(finch_tflite SYSTEM PUBLIC ${PROJECT_BINARY_DIR}/generated ${FINCH_FLATBUFFERS_INCLUDE})
target_link_libraries(finch_tflite PUBLIC finch_onnx PRIVATE nlohmann_json::nlohmann_json)
