# On the CPU:      docker build -t hmf .                              docker run hmf
# On NVIDIA GPUs:  docker build -t hmf --build-arg INSTALL=--cuda .   docker run --gpus all hmf src/doctor.py
# Runs are kept in a folder of yours with: -v "$PWD/results:/hmf/results". More: docs/install.md.
FROM python:3.13-slim-bookworm
ARG INSTALL=""
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /hmf
COPY . .
RUN ./install_dependencies.sh $INSTALL
ENTRYPOINT [".venv/bin/python"]
CMD ["src/main.py", "--config=hmf", "--env-config=battle"]
