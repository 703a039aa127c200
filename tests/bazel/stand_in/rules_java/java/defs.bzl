"""Stands for the repository rules_java where Bazel 4 cannot fetch it: Bazel's own toolchains name it, though nothing here is Java."""

java_binary = native.java_binary
java_import = native.java_import
java_runtime = native.java_runtime
java_toolchain = native.java_toolchain
