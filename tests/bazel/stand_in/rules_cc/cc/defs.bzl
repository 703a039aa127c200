"""Stands for the repository rules_cc where Bazel 4 cannot fetch it: its rules are Bazel's own under other names."""

cc_binary = native.cc_binary
cc_import = native.cc_import
cc_library = native.cc_library
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite
