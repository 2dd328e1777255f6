# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# From the top of a checkout, as it is committed there: nix build 'git+file:.?dir=contrib/nix'
{
  description = "Memory that virtual machines share";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      eachSystem =
        make:
        lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = eachSystem (pkgs: rec {
        ivshmem-tools = pkgs.callPackage ./tools.nix { };
        default = ivshmem-tools;
      });

      # A driver belongs to a kernel. In a configuration of NixOS:
      #   boot.extraModulePackages = [ (ivshmem-rs.lib.module config.boot.kernelPackages) ];
      lib.module = kernelPackages: kernelPackages.callPackage ./module.nix { };
    };
}
