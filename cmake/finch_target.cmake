# finch_target(NAME): what every target of ours has in common.
function(finch_target name)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor)
  if(FINCH_SANITIZER MATCHES "thread")
    target_compile_options(${name} PRIVATE -Wno-tsan)
  endif()
endfunction()

# finch_test(NAME FOLDER): tests/FOLDER/NAME.cpp, linked with the folder's library, discovered by ctest.
# Further arguments: LIBRARIES more libraries, LABELS ctest labels, TIMEOUT seconds.
function(finch_test name folder)
  cmake_parse_arguments(PARSE_ARGV 2 test "" "TIMEOUT" "LIBRARIES;LABELS")
  add_executable(${name} ${PROJECT_SOURCE_DIR}/tests/${folder}/${name}.cpp)
  finch_target(${name})
  target_link_libraries(${name} PRIVATE ${test_LIBRARIES} GTest::gmock GTest::gtest_main)
  if(NOT test_TIMEOUT)
    set(test_TIMEOUT 120)
  endif()
  # A list must reach ctest's script as one value: its semicolons are escaped.
  set(labels ${folder} ${test_LABELS})
  list(JOIN labels "\\;" labels)
  gtest_discover_tests(${name}
    DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT ${test_TIMEOUT} LABELS "${labels}"
      ENVIRONMENT "FINCH_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}\\;FINCH_SOURCE=${PROJECT_SOURCE_DIR}")
endfunction()
