# SPDX-License-Identifier: GPL-2.0-only OR MIT
{
  lib,
  stdenv,
  kernel,
  kernelModuleMakeFlags,
}:

let
  top = ../..;
  cargo = lib.importTOML (top + "/tools/Cargo.toml");
in
stdenv.mkDerivation {
  pname = "ivshmem-rs-module";
  version = "${cargo.workspace.package.version}-${kernel.version}";

  src = top + "/src";

  # With those of the kernel come its Rust compiler and bindgen.
  nativeBuildInputs = kernel.moduleBuildDependencies;
  hardeningDisable = [ "pic" ];

  makeFlags = kernelModuleMakeFlags ++ [
    "-C${kernel.dev}/lib/modules/${kernel.modDirVersion}/build"
    "M=$(PWD)"
    "INSTALL_MOD_PATH=$(out)"
  ];
  buildFlags = [ "modules" ];
  installTargets = [ "modules_install" ];

  meta = {
    description = "Driver for ivshmem, memory that virtual machines share";
    license = lib.licenses.gpl2Only;
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    broken = !(kernel.withRust or false) || lib.versions.majorMinor kernel.version != "7.3";
  };
}
