# SPDX-License-Identifier: GPL-2.0-only OR MIT
{ lib, rustPlatform }:

let
  top = ../..;
  cargo = lib.importTOML (top + "/tools/Cargo.toml");
  project = lib.importTOML (top + "/tools/scripts/project.toml");
  programs = [
    "ivshmemctl"
    "ivshmem-server"
    "ivshmem-emu"
  ];
in
rustPlatform.buildRustPackage {
  pname = "ivshmem-tools";
  inherit (cargo.workspace.package) version;

  src = top;
  cargoRoot = "tools";
  buildAndTestSubdir = "tools";
  cargoLock.lockFile = top + "/tools/Cargo.lock";
  cargoBuildFlags = map (program: "--package=${program}") programs;

  # They boot virtual machines.
  doCheck = false;

  # The recipe expects the programs where cargo puts them without --target.
  postInstall = ''
    mkdir -p tools/target/release
    cp $out/bin/* tools/target/release/
    make install-server-files install-manuals install-system DESTDIR= PREFIX=$out
  '';

  meta = lib.optionalAttrs (project.repository != "") { homepage = project.repository; } // {
    description = "Programs for ivshmem, memory that virtual machines share";
    license = with lib.licenses; [
      gpl2Only
      mit
    ];
    mainProgram = "ivshmemctl";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
