# Speed of the build itself: ccache, mold, and few LibTorch compilers at once (about 1.5 GB each).
find_program(FINCH_CCACHE ccache)
if(FINCH_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Precompiled headers need these for ccache to hit.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${FINCH_CCACHE})
endif()
find_program(FINCH_MOLD mold)
if(FINCH_MOLD AND NOT CMAKE_CROSSCOMPILING)
  add_link_options(-fuse-ld=mold)
endif()

cmake_host_system_information(RESULT memory_mb QUERY TOTAL_PHYSICAL_MEMORY)
math(EXPR torch_jobs "${memory_mb} / 2500")
if(torch_jobs LESS 1)
  set(torch_jobs 1)
endif()
set_property(GLOBAL PROPERTY JOB_POOLS torch=${torch_jobs})

if(FINCH_SANITIZER)
  add_compile_options(-fsanitize=${FINCH_SANITIZER} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${FINCH_SANITIZER})
endif()
