# The agent's Debian package; included when FINCH_PACKAGE names an architecture, see scripts/package.
set(packaging ${PROJECT_SOURCE_DIR}/agent/package)
install(PROGRAMS scripts/install-runtime DESTINATION bin RENAME finch-install-runtime)
install(FILES ${packaging}/finch-agent.service DESTINATION /usr/lib/systemd/system)
install(FILES ${packaging}/finch-agent.default DESTINATION /etc/default RENAME finch-agent)
install(FILES README.md docs/2-measurement.md docs/deploy-pi.md docs/deploy-jetson.md DESTINATION share/doc/finch-agent)
install(FILES LICENSE DESTINATION share/doc/finch-agent RENAME copyright)
install(DIRECTORY profiles DESTINATION share/finch)
install(FILES agent/reference_network.onnx agent/reference_network.tflite DESTINATION share/finch)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME finch-agent)
set(CPACK_PACKAGE_VENDOR Finch)
set(CPACK_PACKAGE_CONTACT "The Finch project <finch@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Measures neural networks on this board for a Finch controller")
set(CPACK_PACKAGE_DESCRIPTION
"The agent joins a Finch controller over mutual TLS and measures what it sends:
latency, memory and energy of neural networks, each with interval and verdict.
It loads ONNX Runtime, OpenVINO or LiteRT at run time; none comes with it.")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${FINCH_PACKAGE})
set(CPACK_DEBIAN_PACKAGE_SECTION science)
# The libraries are those of the sysroot: dpkg-shlibdeps would look for them on this machine.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.35), libssl3 | libssl3t64, libseccomp2 (>= 2.5), init-system-helpers, passwd")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libonnxruntime1.21, python3-pip")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${packaging}/postinst ${packaging}/prerm ${packaging}/postrm ${packaging}/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
