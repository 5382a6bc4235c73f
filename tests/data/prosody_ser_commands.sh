# The commands in the README of Prosody-SER, as they stand there: tests/envs/test_train_ser.py runs them.

# basic
python -m sample_code.scripts.train \
    --audio_base_path "./AUDIO/" \
    --train_jsonl "./json_data/ser_audio_features_wav_train.jsonl" \
    --val_jsonl "./json_data/ser_audio_features_wav_val.jsonl" \
    --test_jsonl "./json_data/ser_audio_features_wav_test.jsonl" \
    --backbone whisper \
    --batch_size 64 \
    --vocab_size 16000 \
    --num_epochs 5 \
    --save_dir "checkpoints" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --use_amp \
    --alpha_ser 1.0 \
    --alpha_asr 0.1 \
    --alpha_prosody 0.1 \
    --use_alpha_asr \
    --use_alpha_ser \
    --use_alpha_prosody

# full
python -m sample_code.scripts.train \
    --audio_base_path "./AUDIO/" \
    --train_jsonl "./json_data/ser_audio_features_wav_train.jsonl" \
    --val_jsonl "./json_data/ser_audio_features_wav_val.jsonl" \
    --test_jsonl "./json_data/ser_audio_features_wav_test.jsonl" \
    --backbone whisper \
    --batch_size 64 \
    --vocab_size 16000 \
    --num_epochs 5 \
    --save_dir "checkpoints" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --use_amp \
    --alpha_ser 1.0 \
    --alpha_asr 0.1 \
    --alpha_prosody 0.1 \
    --use_alpha_asr \
    --use_alpha_ser \
    --use_alpha_prosody

# ser_asr
python -m sample_code.scripts.train \
    --audio_base_path "./AUDIO/" \
    --train_jsonl "./json_data/ser_audio_features_wav_train.jsonl" \
    --val_jsonl "./json_data/ser_audio_features_wav_val.jsonl" \
    --test_jsonl "./json_data/ser_audio_features_wav_test.jsonl" \
    --backbone whisper \
    --batch_size 64 \
    --vocab_size 16000 \
    --num_epochs 5 \
    --save_dir "checkpoints" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --use_amp \
    --alpha_ser 1.0 \
    --alpha_asr 0.1 \
    --use_alpha_asr \
    --use_alpha_ser

# ser
python -m sample_code.scripts.train \
    --audio_base_path "./AUDIO/" \
    --train_jsonl "./json_data/ser_audio_features_wav_train.jsonl" \
    --val_jsonl "./json_data/ser_audio_features_wav_val.jsonl" \
    --test_jsonl "./json_data/ser_audio_features_wav_test.jsonl" \
    --backbone whisper \
    --batch_size 64 \
    --vocab_size 16000 \
    --num_epochs 5 \
    --save_dir "checkpoints" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --use_amp \
    --alpha_ser 1.0 \
    --use_alpha_ser

# evaluate
python -m sample_code.scripts.evaluate \
    --checkpoint_path "checkpoints/best_model.pt" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --audio_base_path "./AUDIO/" \
    --test_jsonl "./json_data/ser_audio_features_wav_test.jsonl" \
    --decode_method beam \
    --output_dir "eval_results"

# colab
python -m sample_code.scripts.train \
    --audio_base_path "/content/drive/MyDrive/AKAN-SPEECH-EMOTION-DATA/AUDIO/" \
    --train_jsonl "/content/drive/MyDrive/AKAN-SPEECH-EMOTION-DATA/AUDIO/ser_audio_features_wav_train.jsonl" \
    --val_jsonl "/content/drive/MyDrive/AKAN-SPEECH-EMOTION-DATA/AUDIO/ser_audio_features_wav_val.jsonl" \
    --test_jsonl "/content/drive/MyDrive/AKAN-SPEECH-EMOTION-DATA/AUDIO/ser_audio_features_wav_test.jsonl" \
    --backbone whisper \
    --batch_size 16 \
    --vocab_size 16000 \
    --num_epochs 100 \
    --save_dir "checkpoints" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --use_amp \
    --alpha_ser 1.0 \
    --alpha_asr 0.1 \
    --alpha_prosody 0.1 \
    --use_alpha_asr \
    --use_alpha_ser \
    --use_alpha_prosody \
    --use_wandb

# hpc
python -m sample_code.scripts.train \
    --audio_base_path "/path/to/your/audio/files/" \
    --train_jsonl "/path/to/train.jsonl" \
    --val_jsonl "/path/to/val.jsonl" \
    --test_jsonl "/path/to/test.jsonl" \
    --backbone whisper \
    --batch_size 64 \
    --vocab_size 16000 \
    --num_epochs 50 \
    --save_dir "checkpoints" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --use_amp \
    --alpha_ser 1.0 \
    --alpha_asr 0.1 \
    --alpha_prosody 0.1 \
    --use_alpha_asr \
    --use_alpha_ser \
    --use_alpha_prosody \
    --use_wandb

# ablation
python -m sample_code.scripts.train \
    --audio_base_path "./AUDIO/" \
    --train_jsonl "./json_data/ser_audio_features_wav_train.jsonl" \
    --val_jsonl "./json_data/ser_audio_features_wav_val.jsonl" \
    --test_jsonl "./json_data/ser_audio_features_wav_test.jsonl" \
    --backbone whisper \
    --batch_size 32 \
    --vocab_size 16000 \
    --num_epochs 10 \
    --save_dir "checkpoints" \
    --tokenizer_path "akan_mtl_tokenizer.model" \
    --use_amp \
    --run_ablation_study \
    --ablation_alphas 0.0 0.001 0.01 0.1 1.0 \
    --ablation_epochs 3
