# find_package(Torch) for the files of PyPI's wheel torch and of the wheels nvidia-* beside it, as
# scripts/install-libtorch lays them out: PREFIX/torch, PREFIX/nvidia, this file in PREFIX/share/cmake/Torch.
get_filename_component(prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(libraries ${prefix}/torch/lib)
if(NOT TARGET torch)
  add_library(torch INTERFACE IMPORTED)
  target_include_directories(torch SYSTEM INTERFACE
    ${prefix}/torch/include ${prefix}/torch/include/torch/csrc/api/include
    ${prefix}/nvidia/cu13/include ${prefix}/nvidia/nccl/include)
  target_compile_definitions(torch INTERFACE USE_C10D_GLOO USE_C10D_NCCL)
  # Nothing calls libtorch_cuda by name: it registers its kernels when it is loaded. The C++ library comes first: the
  # wheel exports parts of an older one (std::filesystem::remove_all), which must not take the place of its own.
  target_link_libraries(torch INTERFACE -Wl,--push-state,--no-as-needed stdc++
    ${libraries}/libtorch.so ${libraries}/libtorch_cpu.so ${libraries}/libtorch_cuda.so ${libraries}/libc10.so
    ${libraries}/libc10_cuda.so -Wl,--pop-state)
endif()
set(Torch_FOUND TRUE)
