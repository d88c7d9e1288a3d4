// The Finch home: what all campaigns of a user share. $FINCH_HOME, default $XDG_STATE_HOME/finch or
// ~/.local/state/finch. Free functions; thread safe.
#pragma once

#include <expected>
#include <filesystem>

#include "controller/error.hpp"

namespace finch::controller {

struct Home {
  std::filesystem::path root;

  std::filesystem::path authority() const { return root / "authority"; }
  std::filesystem::path artifacts() const { return root / "artifacts"; }
  std::filesystem::path workers() const { return root / "workers"; }  // identities and caches of local workers
  std::filesystem::path logs() const { return root / "logs"; }
  std::filesystem::path farm_db() const { return root / "farm.db"; }
  std::filesystem::path watch_db() const { return root / "watch.db"; }        // models in use, see finch watch
  std::filesystem::path serve_file() const { return root / "serve.json"; }    // {"pid", "port"} while a farm is served
  std::filesystem::path serve_lock() const { return root / "serve.lock"; }    // lock of whoever serves
  std::filesystem::path serve_claim() const { return root / "serve.claim"; }  // lock of `finch serve`
};

// Creates what is missing (mode 0700). Error: not writable, names the folder and $FINCH_HOME.
std::expected<Home, Error> open_home();

// Folder of finch, finch-agent and finch-trainer: that of the running program.
std::filesystem::path program_folder();

}  // namespace finch::controller
